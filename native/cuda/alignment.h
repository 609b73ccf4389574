// Whether memory may be accessed 16 bytes at a time.
#pragma once

#include <cstdint>

namespace repa::cuda {

/// Whether every pointer (null counts as one) may be read in accesses of 16 bytes. Tensors of their own and parameters are; a
/// slice or view need not be, and an access that is not aligned would take the GPU away from the process.
template <class... Pointers>
bool aligned16(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace repa::cuda
