// What keeps values out of registers while a loop has no use for them: the thread's number as an instruction of its own (PTX ISA 10.1, %tid,
// on every chip), and values that are computed again.
#pragma once

#include <cuda_runtime.h>

namespace repa::cuda {

/// threadIdx.x, read where it stands: never moved out of a loop, so that what is computed of it takes no register while the rest of the
/// loop runs.
__device__ __forceinline__ int readThread() {
#if !defined(REPA_SIMT) && defined(__CUDA_ARCH__)
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  __builtin_assume(thread >= 0 && thread < 1024);
  return thread;
#else
  return static_cast<int>(threadIdx.x);
#endif
}

/// `value`, of which the compiler forgets what it is: what is computed of it here is not what was computed of it before.
__device__ __forceinline__ int computeAnew(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

}  // namespace repa::cuda
