// LayerNorm over the last axis: modulated by a sample's condition (adaLN: DiT, arXiv 2212.09748) or affine (torch.nn.LayerNorm); and RMSNorm
// modulated (LightningDiT, arXiv 2501.01423).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// modulate(norm(x), shift, scale): of "layerNorm" xhat (1 + scale) + shift, the norm having no parameters of its own; of "rmsNorm"
/// x rstd factor + shift, the factor being that chunk (norm.h). x [B, T, D]; modulation [B, chunks, D], whose chunks number shiftChunk and
/// scaleChunk are shift and scale.
/// Returns {out [B, T, D] of `dtype`, mean [B, T], zeros of an RMSNorm, rstd [B, T]}.
std::array<Tensor, 3> normModulate(const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, const std::string& norm,
                                   double epsilon, const std::string& dtype);

/// The gradient of x in f32, from dOut of the result's dtype, plus dResidual [B, T, D] when given. Overwrites dModulation's two chunks
/// with those of shift and scale.
Tensor normModulateBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& modulation,
                            int64_t shiftChunk, int64_t scaleChunk, const std::string& norm, const std::optional<Tensor>& dResidual,
                            const Tensor& dModulation);

/// xhat weight + bias. x [..., D]; weight and bias [D]. Returns {out of x's shape and `dtype`, mean [rows], rstd [rows]}.
std::array<Tensor, 3> layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const std::string& dtype);

/// The gradient of x. Writes, or with `accumulate` adds, the parameters' to dWeight and dBias [D].
Tensor layerNormBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                         const Tensor& dWeight, const Tensor& dBias, bool accumulate);

}  // namespace repa::ops
