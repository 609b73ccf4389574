// What an optimizer step must know about the gradient, kept where the kernels run: no number has to reach the host
// between the backward pass and the update.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace repa {

/// Starts as all zeros, but for the loss scale where there is one; a resumed run sets the counts too. Written by
/// clipGradientNorm, read by adamW and the losses and, some steps late, by the host.
struct StepState {
  /// Of the gradient as the backward pass left it.
  double sumOfSquares;
  /// L2 norm of the gradient, its scale undone, before clipping.
  double gradNorm;
  /// What each gradient element is multiplied by: the undone scale times the clip coefficient.
  float clip;
  /// 1 when the whole gradient is finite. When it is 0 the step changes nothing.
  int32_t finite;
  /// Updates made, the one being made included; what the bias corrections count.
  int64_t step;
  /// Updates left out because the gradient was not finite.
  int64_t skipped;
  /// What the losses multiply the next gradient by, so that float16 holds its small elements; 0: nothing, as 1.
  float lossScale;
  /// Updates since the loss scale last changed.
  int32_t stepsAtScale;
  /// Updates in which the late parameters, those that begin to be updated later, were held; their own are counted from there on.
  int64_t held;
};

// Dynamic loss scaling (Micikevicius et al., arXiv 1710.03740) by the rule of torch.amp.GradScaler. Its scale starts at 65536, which
// the host writes.
constexpr int32_t kLossScaleGrowthInterval = 2000;
/// Megatron-LM and DeepSpeed stop there too. A gradient that overflows without any scaling is the model's own, and is reported as
/// such, step after step; a smaller scale would only hide that, while small elements vanish, and at last be 0, which cannot be undone.
constexpr float kSmallestLossScale = 1.0f;

// The functions are static so that a file compiled for one CPU level never lends its copy to another.

/// What a loss multiplies its gradient by; `state` may be null.
REPA_HOST_DEVICE static inline float lossScaleOf(const StepState* state) {
  return state && state->lossScale != 0.0f ? state->lossScale : 1.0f;
}

/// From the sum of the gradient's squares: everything else in the state.
///   clip = gradientScale / lossScale min(1, maxNorm / (gradNorm + 1e-6)), torch.nn.utils.clip_grad_norm_'s coefficient.
/// maxNorm may be infinite; gradientScale is what averages accumulated gradients, 1 for a single one. `holdsLate`: this update holds the late
/// parameters.
REPA_HOST_DEVICE static inline void finishGradient(StepState& state, double sumOfSquares, float maxNorm, float gradientScale, bool holdsLate) {
  const float scale = gradientScale / lossScaleOf(&state);
  state.sumOfSquares = sumOfSquares;
  state.gradNorm = sqrt(sumOfSquares) * fabs(static_cast<double>(scale));
  state.finite = state.gradNorm <= 1.7976931348623157e308 ? 1 : 0;  // a NaN compares false
  if (state.finite) {
    // In float, as torch's clip_grad_norm_ does.
    const float coefficient = maxNorm / (static_cast<float>(state.gradNorm) + 1e-6f);
    state.clip = scale * (coefficient < 1.0f ? coefficient : 1.0f);
    ++state.step;
    if (holdsLate) ++state.held;
  } else {
    state.clip = 0.0f;
    ++state.skipped;
  }
  if (state.lossScale == 0.0f) return;
  if (!state.finite) {
    state.lossScale = 0.5f * state.lossScale > kSmallestLossScale ? 0.5f * state.lossScale : kSmallestLossScale;
    state.stepsAtScale = 0;
  } else if (++state.stepsAtScale >= kLossScaleGrowthInterval) {
    if (2.0f * state.lossScale <= 3.4028234e38f) state.lossScale *= 2.0f;
    state.stepsAtScale = 0;
  }
}

}  // namespace repa
