// The optimizer step over a flat arena: the weights of all parameters in one array; gradients, moments and exponential
// moving average (EMA) in arrays of the same order.
//
// A step is three calls: sumOfSquares reads the gradient, or a process's share of it; clipFactor makes the clip coefficient of
// the sums and decides whether the step happens, by a StepState; adamW updates everything in one pass. Where processes have a
// share each, followWeights does the rest with what the others have updated.
#pragma once

#include <cstdint>

#include "core/arena_range.h"
#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// *sum = sum of gradient^2 over all but the frozen elements, in double, where no finite gradient overflows: so it is finite
/// exactly when they all are.
struct SumOfSquaresArgs {
  int64_t count;
  const float* gradient;
  /// Elements without a gradient (their `gradient` is not read), in ascending order, not overlapping.
  const ArenaRange* frozen;
  int64_t frozenCount;
  double* sum;
  /// sumOfSquaresScratchFloats of them, aligned to 8 bytes.
  float* scratch;
};

/// From the sums of squares, one of each process, the state (finishGradient of core/step_state.h).
struct ClipFactorArgs {
  const double* sums;
  int64_t count;
  StepState* state;
  /// INFINITY: no clipping.
  float maxNorm;
  /// What averages accumulated gradients; 1 for a single one.
  float gradientScale;
  /// Whether this update holds the late parameters.
  bool holdsLate;
};

/// AdamW (arXiv 1711.05101) as torch.optim.AdamW computes it, then the EMA. With g = clip gradient and s = state->step, of late parameters
/// less state->held:
///   p <- p (1 - lr weightDecay)      m <- beta1 m + (1 - beta1) g      v <- beta2 v + (1 - beta2) g^2
///   p <- p - lr / (1 - beta1^s) * m / (sqrt(v) / sqrt(1 - beta2^s) + epsilon)
///   ema <- emaDecay ema + (1 - emaDecay) p
/// Does nothing at all when state->finite is 0.
struct AdamWArgs {
  int64_t count;
  float* weight;
  const float* gradient;
  float* firstMoment;
  float* secondMoment;
  /// Null: no EMA is kept.
  float* ema;
  /// Elements that only the EMA visits (gradient and moments are left alone), in ascending order, not overlapping.
  const ArenaRange* frozen;
  int64_t frozenCount;
  /// Elements that weightDecay leaves alone, in ascending order, not overlapping.
  const ArenaRange* undecayed;
  int64_t undecayedCount;
  double learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
  /// Whether these are late parameters.
  bool late;
  /// Null: 1.
  const double* learningRateFactor;
  const StepState* state;
};

/// ema <- emaDecay ema + (1 - emaDecay) weight. Does nothing at all when state->finite is 0.
struct FollowWeightsArgs {
  int64_t count;
  const float* weight;
  float* ema;
  double emaDecay;
  const StepState* state;
};

struct OptimizerKernels {
  void (*sumOfSquares)(ThreadPool&, const SumOfSquaresArgs&);
  int64_t (*sumOfSquaresScratchFloats)(const SumOfSquaresArgs&, int threads);
  void (*clipFactor)(ThreadPool&, const ClipFactorArgs&);
  void (*adamW)(ThreadPool&, const AdamWArgs&);
  void (*followWeights)(ThreadPool&, const FollowWeightsArgs&);
};

REPA_CPU_KERNELS(OptimizerKernels, optimizerKernels);

}  // namespace repa::cpu
