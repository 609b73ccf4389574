// What every file of kernels includes first.
//
// Kernels are plain CUDA C++ that nvcc compiles for the chip and a host compiler for native/simt, which runs them on a CPU. So: special
// instructions only through ptx.h, launches only through launch.h, dynamic shared memory only through REPA_DYNAMIC_SHARED; no
// cooperative groups, no <<<>>>, no floating-point atomics (their order would not repeat).
#pragma once

#include <cuda_runtime.h>

#include "cuda/ptx.h"

namespace repa::cuda {

/// The lanes of a warp, and the mask of all of them.
constexpr int kWarp = 32;
constexpr unsigned kAll = 0xffffffffu;

}  // namespace repa::cuda

// Declares `unsigned char* name`, the block's dynamic shared memory, aligned to 1024 bytes: what the 128-byte swizzle asks for.
#if defined(REPA_SIMT)
#define REPA_DYNAMIC_SHARED(name) unsigned char* const name = ::repa::simt::thread().block->sharedMemory
#else
#define REPA_DYNAMIC_SHARED(name)                                 \
  extern __shared__ __align__(1024) unsigned char repaDynamic[]; \
  unsigned char* const name = repaDynamic
#endif
