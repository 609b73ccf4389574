// Where things lie in shared memory.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// Bytes from one place of shared memory to another behind it. Of the 32-bit addresses: a difference of pointers is of 64-bit generic ones, for
/// which a kernel asks where the window of shared memory begins.
__device__ __forceinline__ unsigned sharedDistance(const void* from, const void* to) {
#if !defined(REPA_SIMT) && defined(__CUDA_ARCH__)
  return sharedAddress(to) - sharedAddress(from);
#else
  return static_cast<unsigned>(static_cast<const unsigned char*>(to) - static_cast<const unsigned char*>(from));
#endif
}

}  // namespace repa::cuda
