// The smooth L1 (Huber) loss.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// prediction and target [B, ...] -> {loss [B], gradient}: per sample the mean of torch's smooth_l1_loss, d² / (2 beta) where
/// |d| < beta, else |d| - beta / 2, d = prediction - target. Where wanted, the gradient is that of `weight` times the mean of the loss
/// over the batch, multiplied by the loss scale of `state`. The prediction and its gradient may have the dtype of computation.
std::array<Tensor, 2> smoothL1Loss(const Tensor& prediction, const Tensor& target, double beta, double weight, const std::optional<Tensor>& state,
                                   bool wantGradient);

}  // namespace repa::ops
