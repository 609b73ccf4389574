// The patch embedding: a convolution whose stride is its kernel, as a product over patches, with the tokens' positions; and its
// gradients. Images, bias, positions, tokens and gradients are f32; weight, and what the product reads, have the dtype in which the
// model computes.
//
// On a GPU patches of up to 64 elements are one kernel, forward and backward (cuda/patch_embed.cu), which multiplies in f32, also where
// the device may round to tf32. All else is made of other ops: patchify and a product with an addend; sums of columns, a cast, and a
// weight gradient.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// image [B, C, H, W], weight [D, C·p·p], bias [D], positions [T, D] -> tokens [B, T, D] = patches weightᵀ + bias + positions, the patches
/// rounded to the weight's dtype.
Tensor patchEmbed(const Tensor& image, int64_t patch, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& positions);

/// Writes, or with `accumulate` adds, dTokensᵀ patches to dWeight [D, C·p·p], both rounded to `dtype`, and the sums of dTokens' columns
/// to dBias [D].
void patchEmbedBackward(const Tensor& dTokens, const Tensor& image, int64_t patch, const std::string& dtype, const Tensor& dWeight,
                        const std::optional<Tensor>& dBias, bool accumulate);

}  // namespace repa::ops
