// The CUDA kernels of the patch embedding (ops/patch_embed.h) for patches of few elements. Arguments were checked there.
#pragma once

#include <optional>

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// Elements of a patch, C p p, up to which a thread holds its columns' weights in registers.
constexpr int64_t kMostPatchElements = 64;

/// tokens [B, T, D] = patches of image · weightᵀ + bias + positions.
void patchEmbed(cudaStream_t stream, const Tensor& image, int64_t patch, const Tensor& weight, const std::optional<Tensor>& bias,
                const Tensor& positions, const Tensor& tokens);

/// dTokens is rounded to `dtype`, as the image is, for dWeight, and summed as it is for dBias.
void patchEmbedBackward(cudaStream_t stream, const Tensor& dTokens, const Tensor& image, int64_t patch, DType dtype, const Tensor& dWeight,
                        const std::optional<Tensor>& dBias, bool accumulate, const Tensor& scratch);
int64_t patchEmbedBackwardScratchFloats(const Tensor& dTokens, const Tensor& dWeight);

}  // namespace repa::cuda
