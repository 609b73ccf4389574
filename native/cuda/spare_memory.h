// Memory that CUDA takes for itself: the code of a kernel when it is first launched or given shared memory, a graph when it is made and first
// run. Where the allocator's cache has filled the GPU such a call fails, though most of that is free.
#pragma once

#include <cuda_runtime.h>

#include "core/function_ref.h"

namespace repa::cuda {

/// Within its scope `giveBack` is what this thread's calls of CUDA ask for memory: it frees what nothing uses, and says whether there was any.
class SpareMemory {
 public:
  explicit SpareMemory(FunctionRef<bool()> giveBack) : giveBack_(giveBack), outer_(current_) { current_ = this; }
  ~SpareMemory() { current_ = outer_; }
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

  static bool giveBack() { return current_ && current_->giveBack_(); }

 private:
  FunctionRef<bool()> giveBack_;
  SpareMemory* outer_;
  static inline thread_local SpareMemory* current_ = nullptr;
};

/// Calls CUDA, and once more where it had no memory and there was some to give back.
template <class Call>
cudaError_t withSpareMemory(Call call) {
  const cudaError_t error = call();
  if (error != cudaErrorMemoryAllocation) return error;
  cudaGetLastError();  // or the next call would find it
  return SpareMemory::giveBack() ? call() : error;
}

}  // namespace repa::cuda
