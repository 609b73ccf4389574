// The two training losses of REPA (arXiv 2410.06940), each with its gradient from the same pass.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// Alignment: projection and target [B, T, D] -> {loss [B] = -mean over tokens of their cosine, gradient}. The gradient (of
/// `weight` times the mean of the loss over the batch) with respect to the projection is made where `wantGradient`; else undefined.
std::array<Tensor, 2> cosineAlignmentLoss(const Tensor& projection, const Tensor& target, double weight, bool wantGradient);

/// prediction and target [B, ...] -> {loss [B] = mean of (prediction - target)² per sample, gradient}, the gradient being that of
/// `weight` times the mean of the loss over the batch.
std::array<Tensor, 2> velocityLoss(const Tensor& prediction, const Tensor& target, double weight, bool wantGradient);

}  // namespace repa::ops
