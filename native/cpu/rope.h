// Rotary positions of queries and keys, in place (ops/rope.h).
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct RotateArgs {
  int64_t batch, tokens, heads, headDim;
  float* qkv;        ///< [batch, tokens, 3, heads, headDim]; the first two of the three are overwritten
  const float* cos;  ///< [tokens, headDim]
  const float* sin;  ///< [tokens, headDim]
  bool transposed;
};

struct RopeKernels {
  void (*rotate)(ThreadPool&, const RotateArgs&);
};

REPA_CPU_KERNELS(RopeKernels, ropeKernels);

}  // namespace repa::cpu
