// The two training losses of REPA (arXiv 2410.06940), each with its gradient from the same pass.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

// `state`: the optimizer's (core/step_state.h), whose loss scale multiplies the gradient.

/// Alignment: projection and target [B, T, D] -> {loss [B] = -mean over tokens of their cosine, gradient}. The gradient (of
/// `weight` times the mean of the loss over the batch) with respect to the projection is made where `wantGradient`; else undefined.
/// The projection and its gradient have the dtype of computation, the target the same or f32.
std::array<Tensor, 2> cosineAlignmentLoss(const Tensor& projection, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                          bool wantGradient);

/// prediction and target [B, ...] -> {loss [B] = mean of (prediction - target)² per sample, gradient}, the gradient being that of
/// `weight` times the mean of the loss over the batch. The prediction and its gradient may have the dtype of computation.
std::array<Tensor, 2> velocityLoss(const Tensor& prediction, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                   bool wantGradient);

}  // namespace repa::ops
