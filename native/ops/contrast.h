// What contrastive losses are made of: rows of unit length, cross entropy over rows of similarities, and distances between samples.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

// `state`: the optimizer's (core/step_state.h), whose loss scale multiplies the gradient.

/// x [..., D] -> {unit, norms}, both f32: unit = x / max(|x|, 1e-12) by rows (torch.nn.functional.normalize), norms [...] = |x|.
/// x may have the dtype of computation.
std::array<Tensor, 2> l2Normalize(const Tensor& x);

/// The gradient with respect to x, of `dtype` and of unit's shape, from that with respect to unit (f32).
Tensor l2NormalizeBackward(const Tensor& dUnit, const Tensor& unit, const Tensor& norms, const std::string& dtype);

/// logits [N, N] -> {loss [N], dLogits [N, N]}: loss[n] = -log softmax(logits[n] / temperature)[n], the right column of row n being n;
/// the gradient, where it is wanted, is that of `weight` times the sum of the losses.
std::array<Tensor, 2> crossEntropyLoss(const Tensor& logits, double temperature, double weight, const std::optional<Tensor>& state,
                                       bool wantGradient);

/// x [B, ...] -> [B, B]: the squared Euclidean distances between the samples.
Tensor squaredDistances(const Tensor& x);

/// distances [B, B] -> {loss [1], pull [B, B]}: loss = log mean over all i, j of exp(-scale distances[i, j]) (arXiv 2506.09027, its
/// InfoNCE form). Where wanted, the gradient of `weight` times it with respect to the samples x [B, F] is the product pull x.
std::array<Tensor, 2> dispersiveLoss(const Tensor& distances, double scale, double weight, const std::optional<Tensor>& state,
                                     bool wantGradient);

}  // namespace repa::ops
