// Linear layers with fused epilogues, and their gradients. Weights are [out, in] as torch stores them. x, weight, pre, y and dOut
// have the dtype in which the model computes; biases, residual, modulation, scale, addend and dWeight are f32.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// f(x Wᵀ + b): x [..., in], weight [out, in], bias [out]; activation as activationOf names it.
/// Returns {out [..., out] of `dtype`, pre}: pre is x Wᵀ + b, kept for the backward pass where `keepPre` and there is an activation; else undefined.
std::array<Tensor, 2> linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const std::string& activation, bool keepPre,
                             const std::string& dtype);

/// residual + gate ⊙ (x Wᵀ + b): x [B, T, in], residual [B, T, out], gate a chunk of modulation [B, chunks, out].
/// Returns {out, y}: y = x Wᵀ + b, kept where `keepY` for the gate's gradient; else undefined.
std::array<Tensor, 2> linearGatedResidual(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                                          const Tensor& modulation, int64_t gateChunk, bool keepY);

/// residual + scale ⊙ (x Wᵀ + b), scale [out]: LayerScale's γ, or ones. Keeps nothing: the backward pass makes the product again where γ
/// wants its gradient.
Tensor linearScaledResidual(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual, const Tensor& scale);

/// x Wᵀ + b + addend[row mod T]: x [B, T, in], addend [T, out]: patch embedding with its positions.
Tensor linearAddend(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& addend);

/// dX = dOut W, of dOut's dtype, and with `pre` (the pre-activation of the Linear below) dX ⊙ f'(pre): dOut [..., out] -> [..., in].
/// dX is then the gradient of the Linear below: dBias [in] gets, or with `accumulateBias` is increased by, its sums over the rows.
Tensor linearInputGradient(const Tensor& dOut, const Tensor& weight, const std::optional<Tensor>& pre, const std::string& activation,
                           const std::optional<Tensor>& dBias, bool accumulateBias);

/// Writes, or with `accumulate` adds, dOutᵀ x to dWeight [out, in].
void linearWeightGradient(const Tensor& dOut, const Tensor& x, const Tensor& dWeight, bool accumulate);

/// The same for several layers, which a GPU computes in one launch: alone, most weight gradients of a block leave it half empty.
void linearWeightGradients(const std::vector<Tensor>& dOut, const std::vector<Tensor>& x, const std::vector<Tensor>& dWeight, bool accumulate);

}  // namespace repa::ops
