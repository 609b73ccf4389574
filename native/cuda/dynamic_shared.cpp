#include "cuda/dynamic_shared.h"

#include <map>
#include <mutex>
#include <utility>

namespace repa::cuda {

cudaError_t allowDynamicShared(const void* kernel, size_t bytes) {
  // Without asking a kernel may have 48 KB, of which its static shared memory, not known here, is a part.
  if (bytes == 0) return cudaSuccess;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  static auto& mutex = *new std::mutex;
  static auto& allowed = *new std::map<std::pair<const void*, int>, size_t>;
  const std::lock_guard lock(mutex);
  size_t& most = allowed[{kernel, device}];
  if (bytes <= most) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) most = bytes;
  return error;
}

}  // namespace repa::cuda
