// Conversions between element types. Narrowing rounds to nearest even, overflows to infinity and keeps NaN a NaN;
// subnormals are kept. bf16 and f16 are their bits in uint16_t.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct CastArgs {
  const void* input;  ///< [count], of the kernel's first type
  void* output;       ///< [count], of the kernel's second type; does not overlap the input
  int64_t count;
};

struct CastKernels {
  void (*f32ToBf16)(ThreadPool& pool, const CastArgs& args);
  void (*bf16ToF32)(ThreadPool& pool, const CastArgs& args);
  void (*f32ToF16)(ThreadPool& pool, const CastArgs& args);
  void (*f16ToF32)(ThreadPool& pool, const CastArgs& args);
  void (*f32ToF64)(ThreadPool& pool, const CastArgs& args);
  void (*f64ToF32)(ThreadPool& pool, const CastArgs& args);
  void (*u8ToF32)(ThreadPool& pool, const CastArgs& args);
  void (*i32ToF32)(ThreadPool& pool, const CastArgs& args);
};

REPA_CPU_KERNELS(CastKernels, castKernels);

}  // namespace repa::cpu
