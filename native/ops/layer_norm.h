// LayerNorm over the last axis: modulated by a sample's condition (adaLN: DiT, arXiv 2212.09748) or affine (torch.nn.LayerNorm).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// modulate(LayerNorm(x), shift, scale) = xhat (1 + scale) + shift; the LayerNorm has no parameters of its own.
/// x [B, T, D]; modulation [B, chunks, D], whose chunks number shiftChunk and scaleChunk are shift and scale.
/// Returns {out [B, T, D] of `dtype`, mean [B, T], rstd [B, T]}.
std::array<Tensor, 3> layerNormModulate(const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, double epsilon,
                                        const std::string& dtype);

/// The gradient of x in f32, from dOut of the result's dtype, plus dResidual [B, T, D] when given. Overwrites dModulation's two chunks
/// with those of shift and scale.
Tensor layerNormModulateBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& modulation,
                                 int64_t shiftChunk, int64_t scaleChunk, const std::optional<Tensor>& dResidual, const Tensor& dModulation);

/// xhat weight + bias. x [..., D]; weight and bias [D]. Returns {out of x's shape and `dtype`, mean [rows], rstd [rows]}.
std::array<Tensor, 3> layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const std::string& dtype);

/// The gradient of x. Writes, or with `accumulate` adds, the parameters' to dWeight and dBias [D].
Tensor layerNormBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                         const Tensor& dWeight, const Tensor& dBias, bool accumulate);

}  // namespace repa::ops
