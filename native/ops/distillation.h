// Self-distillation of soft labels (DINO, arXiv 2104.14294).
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// Distributions p [..., K] -> [...]: -Σ p log p.
Tensor entropy(const Tensor& p);

/// Logits student [V, B, K] of an image's views firstView, firstView + 1, ... and distributions targets [G, B, K] of its views 0, 1, ...
/// -> {loss [V, B], dStudent [V, B, K]}: the cross entropies with softmax(student / temperature) of the targets of all views but the row's
/// own, added. The gradient, where it is wanted, is that of `weight` times the sum of the losses, times the loss scale of `state`
/// (core/step_state.h). The targets get none. All f32.
std::array<Tensor, 2> distillationLoss(const Tensor& student, const Tensor& targets, int64_t firstView, double temperature, double weight,
                                       const std::optional<Tensor>& state, bool wantGradient);

}  // namespace repa::ops
