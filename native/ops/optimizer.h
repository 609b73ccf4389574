// The optimizer step over one flat arena of parameters, or over a process's share of it. What the calls must tell each other, and what
// the host reads some steps late, stands in a StepState on the device (core/step_state.h), a u8 tensor of its size.
#pragma once

#include <optional>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// sums[index] (f64) = the sum of the squares of a gradient [n], in double. `frozen` lists begin and end of the ranges without a gradient.
void sumOfSquares(const Tensor& gradient, const std::vector<double>& frozen, const Tensor& sums, int64_t index);

/// Fills `state` from the sums of squares [processes] of all shares of the gradient: its norm, the clip coefficient for maxNorm (Infinity:
/// none), whether it is finite, and the loss scale of the next step (where there is one, that of this step is undone). gradientScale
/// multiplies the gradient first. `holdsLate`: adamW will leave alone the late parameters, those that begin to be updated later.
void clipGradientNorm(const Tensor& sums, const Tensor& state, double maxNorm, double gradientScale, bool holdsLate);

/// AdamW and the EMA over arenas [n], as torch.optim.AdamW computes them; changes nothing where the state says not finite.
/// `undecayed` lists begin and end of the ranges without weight decay, as `frozen` those without a gradient; a range may be of both.
/// `computeWeight` [n], bf16 or f16, is the copy of the weights that a model of that precision computes with: written in the same pass.
/// `late`: these are parameters that were held at first, and their bias corrections count the updates since then.
/// `learningRateFactor` f64 [1]: what learningRate is multiplied by, read when the update is made; a captured step follows a schedule by it.
void adamW(const Tensor& weight, const Tensor& gradient, const Tensor& firstMoment, const Tensor& secondMoment,
           const std::optional<Tensor>& ema,
           const std::optional<Tensor>& computeWeight, const std::vector<double>& frozen, const std::vector<double>& undecayed,
           const Tensor& state, bool late, double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double emaDecay,
           const std::optional<Tensor>& learningRateFactor);

/// What adamW does besides its update, to weights [n] that other processes have updated: moves the EMA, and writes the copy of the weights.
/// Changes nothing where the state says not finite.
void followWeights(const Tensor& weight, const std::optional<Tensor>& ema, const std::optional<Tensor>& computeWeight, const Tensor& state,
                   double emaDecay);

}  // namespace repa::ops
