// What the shim reads from the symbol table of the module that holds a kernel: names of functions, which of them are kernels, and where the
// `__shared__` variables are. `__global__` and `__shared__` expand to ABI tags, so these stand in the mangled names. Any thread may ask.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace repa::simt {

struct SharedVariable {
  unsigned char* address;
  size_t bytes;
  std::string name;
  std::string symbol;
};

/// The static shared variables of all kernels in the module of `function`, by address.
const std::vector<SharedVariable>& sharedVariables(const void* function);

/// Of those that a kernel itself declares; what functions that it calls declare is not known to be its.
size_t staticSharedBytes(const void* kernel);

/// The function's name, demangled, without its parameters.
const std::string& functionName(const void* function);

/// A kernel with the file that it was compiled from: "layer_norm.cu: vectorKernel<float, 1, false>". Kernels of two files may have the same name.
const std::string& kernelInFile(const void* kernel);

/// Of all kernels in the module of `function`, each instance of a template among them.
std::vector<std::string> kernelsInFiles(const void* function);

}  // namespace repa::simt
