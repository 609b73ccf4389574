// The thread's number as an instruction of its own. PTX ISA 10.1 (%tid), on every chip.
#pragma once

#include <cuda_runtime.h>

namespace repa::cuda {

/// threadIdx.x, read where it stands: never moved out of a loop, so that what is computed of it takes no register while the rest of the
/// loop runs.
__device__ __forceinline__ int readThread() {
#if !defined(REPA_SIMT) && defined(__CUDA_ARCH__)
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
#else
  return static_cast<int>(threadIdx.x);
#endif
}

}  // namespace repa::cuda
