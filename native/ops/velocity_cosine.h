// LightningDiT's loss of a velocity's direction (arXiv 2501.01423).
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// prediction and target [B, C, ...] -> {loss [B], gradient}: per sample the mean over what is behind the channels, pixels, of 1 - cos of the
/// two vectors of channels. As torch's cosine_similarity has it, each is divided by its norm, or by 1e-8 where that is more. Where wanted, the
/// gradient is that of `weight` times the mean of the loss over the batch, multiplied by the loss scale of `state`. The prediction and its
/// gradient may have the dtype of computation.
std::array<Tensor, 2> velocityCosineLoss(const Tensor& prediction, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                         bool wantGradient);

}  // namespace repa::ops
