// A hint that has no effect but on time. PTX ISA 9.7.9.25.4.3 (cp.async.bulk.prefetch), from sm_90 on.
#pragma once

#if defined(REPA_SIMT)
#include "simt/ptx_emulation.h"
#else

#include <cstdint>

namespace repa::cuda {

/// Brings global memory into L2; address and bytes are multiples of 16.
__device__ __forceinline__ void prefetchToL2(const void* global, unsigned bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(global)), "r"(bytes) : "memory");
#else
  (void)global, (void)bytes;
#endif
}

}  // namespace repa::cuda

#endif
