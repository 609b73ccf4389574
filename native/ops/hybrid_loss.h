// DiT's loss: mean squared error and variational bound, with their gradient from the same pass.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// prediction [B, 2C, ...] (what predicts the target, then the variance's v), target and x0 [B, C, ...], t i32 [B], table f64 [steps, 4]
/// (cpu/hybrid_loss.h's HybridLossStep) -> {mse [B], vb [B] in bits a dimension, gradient}: that of mseWeight · mean(mse) + vbWeight ·
/// mean(vb), where `wantGradient`; else undefined. The bound's gradient reaches the prediction's first half only with `throughMean`.
/// `state`: the optimizer's, whose loss scale multiplies the gradient. The prediction and its gradient may have the dtype of computation.
std::array<Tensor, 3> hybridLoss(const Tensor& prediction, const Tensor& target, const Tensor& x0, const Tensor& t, const Tensor& table,
                                 double mseWeight, double vbWeight, bool throughMean, const std::optional<Tensor>& state, bool wantGradient);

}  // namespace repa::ops
