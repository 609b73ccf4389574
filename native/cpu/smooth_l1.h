// The smooth L1 (Huber) loss with its gradient, in one pass over its operands.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// Of d = prediction - target: d^2 / (2 beta) where |d| < beta, else |d| - beta / 2.
struct SmoothL1LossArgs {
  int64_t batch, size;
  const float* prediction;  ///< [batch, size]
  const float* target;      ///< [batch, size]
  float beta;
  float elementWeight;      ///< of one element's loss in the caller's total
  const StepState* state;   ///< its loss scale multiplies the gradient; may be null
  float* loss;              ///< [batch]: means
  float* gradient;          ///< [batch, size], overwritten: elementWeight clamp(d / beta, -1, 1); or null
};

struct SmoothL1Kernels {
  void (*smoothL1Loss)(ThreadPool&, const SmoothL1LossArgs&);
};

REPA_CPU_KERNELS(SmoothL1Kernels, smoothL1Kernels);

}  // namespace repa::cpu
