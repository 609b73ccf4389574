// DiT's loss (arXiv 2212.09748), Improved DDPM's hybrid (arXiv 2102.09672): the mean squared error of the prediction, and the
// variational bound by which the variance is learned, in one pass with their gradient.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// What a step t of the diffusion gives the loss: a row of its table.
struct HybridLossStep {
  /// log β_t - log β̃_t, β̃_t being the posterior's variance: the two between which the model's lies.
  double logRange;
  /// Of the squared error of the prediction in that of the step's mean, over β̃_t: (coefficient of x_0 in the posterior's mean · offset)² / β̃_t.
  double meanWeight;
  /// x_0 - (x_0 that the prediction means) = offset · (prediction - target): √(1/ᾱ_t - 1) where noise is predicted, -1 where x_0 is.
  double offset;
  /// log β̃_t, that of step 1 at step 0.
  double logVariance;
};

/// With e = prediction - target, f = (v + 1) / 2 and u = f · logRange, so that the model's log-variance is logVariance + u:
///     mse = mean e²
///     vb  = mean of KL(posterior ‖ model) / ln 2 = ½ (-1 + u + exp(-u) (1 + meanWeight e²)) / ln 2        for t > 0
///     vb  = mean of -log₂ P(the grey level of x_0 | model)                                                for t = 0
/// where P is the Gaussian's mass on ±1/255 about x_0, to infinity beyond ±0.999, at least 1e-12, by the tanh approximation of its
/// distribution function, as in the reference. A mean over a sample's elements.
struct HybridLossArgs {
  const float* prediction;  ///< [batch, 2, size]: the prediction, then v
  const float* target;      ///< [batch, size]: the noise, or x_0
  const float* x0;          ///< [batch, size]; read where t = 0
  const int32_t* t;         ///< [batch]; one outside [0, steps) gives NaN
  const HybridLossStep* table;  ///< [steps]
  float* mse;                   ///< [batch]
  float* vb;                    ///< [batch]
  float* gradPrediction;        ///< [batch, 2, size], of mseWeight mean(mse) + vbWeight mean(vb); or null
  double mseWeight, vbWeight;
  /// Whether the bound's gradient reaches the prediction too, not only v: the reference detaches it in its hybrid losses.
  bool throughMean;
  const StepState* state;  ///< its loss scale multiplies the gradient; may be null
  int64_t batch, size, steps;
};

struct HybridLossKernels {
  void (*hybridLoss)(ThreadPool& pool, const HybridLossArgs& args);
};

REPA_CPU_KERNELS(HybridLossKernels, hybridLossKernels);

}  // namespace repa::cpu
