// Multi-head self-attention on the packed output of the qkv Linear. qkv, o, normed and their gradients have the dtype of computation.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// softmax(q kᵀ / sqrt(d)) v for every head: qkv [B, T, 3·H·d] (q | k | v, each split by head) -> o [B, T, H·d]; d at most 128.
/// Returns {o, lse [B, H, T]}: lse, to the base 2, is kept where `keepLse`, for the backward pass; else undefined.
std::array<Tensor, 2> attention(const Tensor& qkv, int64_t heads, bool keepLse);

/// The same where token i sees tokens 0 to i alone, as a text encoder has it: qkv [B, T, 3·H·d] -> o [B, T, H·d]. Forward only.
Tensor causalAttention(const Tensor& qkv, int64_t heads);

/// The gradient of qkv. dBias [3·H·d] gets, or with `accumulate` is increased by, its sums over the rows: the gradient of the bias of the
/// Linear below.
Tensor attentionBackward(const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads, const std::optional<Tensor>& dBias,
                         bool accumulate);

/// A norm over head_dim of every query and every key; values pass: "layerNorm" with weight and bias [d] (timm's qk_norm), or "rmsNorm" with
/// weights alone.
/// Returns {normed as qkv, mean [B, T, 2, H], rstd [B, T, 2, H]}.
std::array<Tensor, 3> qkNorm(const Tensor& qkv, const Tensor& qWeight, const std::optional<Tensor>& qBias, const Tensor& kWeight,
                             const std::optional<Tensor>& kBias, int64_t heads, const std::string& norm, double epsilon);

/// The gradient of qkv; writes, or with `accumulate` adds, those of the parameters.
Tensor qkNormBackward(const Tensor& dNormed, const Tensor& qkv, const Tensor& qWeight, const Tensor& kWeight, const Tensor& mean, const Tensor& rstd,
                      int64_t heads, const std::string& norm, const Tensor& dqWeight, const std::optional<Tensor>& dqBias,
                      const Tensor& dkWeight, const std::optional<Tensor>& dkBias, bool accumulate);

}  // namespace repa::ops
