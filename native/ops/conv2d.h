// 2-D convolution as torch.nn.functional.conv2d does it (cross-correlation), with what stands around it in an autoencoder or a
// classifier fused in. Forward only. Images are channels last, [N, H, W, C]: the GEMM that a convolution is then reads them in place.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// activation(conv(inputActivation(x scale + shift)) + bias + residual): x [N, H, W, C] -> [N, H', W', O] of `dtype`.
///
/// weight [O, kernelHeight, kernelWidth, C] in the dtype in which the model computes, which x has or f32; bias [O] and residual (of
/// the result's shape) f32. `coefficients` [N, 2, C] f32, scale then shift, as groupNormCoefficients makes them; without them x is
/// taken as it is and inputActivation is none. `upsample` 2: the convolution sees every pixel 2 x 2 times (nearest neighbour); 1: once.
/// stride: rows, columns. padding: zeros above, below, left, right, behind the normalisation. Activations: none, silu, relu;
/// a residual goes with none and relu. `intoResidual`: the result takes the residual's memory, whose values are gone then.
Tensor conv2d(const Tensor& x, const std::optional<Tensor>& coefficients, const std::string& inputActivation, int64_t upsample, const Tensor& weight,
              const std::optional<Tensor>& bias, const std::vector<double>& stride, const std::vector<double>& padding,
              const std::optional<Tensor>& residual, bool intoResidual, const std::string& activation, const std::string& dtype);

}  // namespace repa::ops
