// What the shim reads from the symbol table of the module that holds a kernel: names of functions, and where the `__shared__`
// variables are. `__shared__` expands to a static with an ABI tag, so the tag stands in the variable's mangled name.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace repa::simt {

struct SharedVariable {
  unsigned char* address;
  size_t bytes;
  std::string name;
};

/// The static shared variables of all kernels in the module of `function`, by address.
const std::vector<SharedVariable>& sharedVariables(const void* function);

/// The function's name, demangled, without its parameters.
const std::string& functionName(const void* function);

}  // namespace repa::simt
