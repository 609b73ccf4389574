// What a device says of itself, and whether blocks find room in its shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/check.h"

namespace repa::cuda {

/// Of the device whose stream the kernels go to.
inline int deviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "say which device is current");
  check(cudaDeviceGetAttribute(&value, attribute, device), "read an attribute of the device");
  return value;
}

/// Whether a block may have so much shared memory: up to 227 KB on sm_90 and sm_100, 163 KB on sm_80, 99 KB on the smaller chips.
inline bool fitsIntoSharedMemory(size_t bytes) {
  return bytes <= static_cast<size_t>(deviceAttribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

/// Whether two blocks with so much dynamic shared memory find room on a multiprocessor, which keeps 1 KB for itself of each.
inline bool twoFitIntoMultiprocessor(size_t bytes) {
  return 2 * (bytes + 1024) <= static_cast<size_t>(deviceAttribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor));
}

}  // namespace repa::cuda
