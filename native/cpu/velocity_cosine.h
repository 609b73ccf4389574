// The loss of a velocity's direction with its gradient, in one pass over the samples (ops/velocity_cosine.h).
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// With n = max(|p|, 1e-8), m = max(|t|, 1e-8) over the channels of a pixel, and c = p·t / (n m):
///   loss = mean of 1 - c over the pixels        gradient = -pixelWeight (t / (n m) - c p / (n |p|)), of no p without the last term
struct VelocityCosineArgs {
  int64_t batch, channels, pixels;
  const float* prediction;  ///< p, [batch, channels, pixels]
  const float* target;      ///< t, likewise
  float pixelWeight;        ///< of one pixel's loss in the caller's total
  const StepState* state;   ///< its loss scale multiplies the gradient; may be null
  float* loss;              ///< [batch]
  float* gradient;          ///< as prediction, overwritten; or null
};

struct VelocityCosineKernels {
  void (*velocityCosine)(ThreadPool&, const VelocityCosineArgs&);
};

REPA_CPU_KERNELS(VelocityCosineKernels, velocityCosineKernels);

}  // namespace repa::cpu
