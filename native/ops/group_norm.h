// GroupNorm of channels-last images, split where a convolution can take over: statistics, then their application. Forward only.
#pragma once

#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// What torch.nn.GroupNorm does to a channel of a sample, as a scale and a shift: x [N, ..., C], weight and bias [C] ->
/// [N, 2, C] f32. `groups` divides C; the statistics of a group are over its C / groups channels and all pixels, in double.
Tensor groupNormCoefficients(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups, double epsilon);

/// f(x scale + shift) of `dtype`: x [N, ..., C], coefficients [N, 2, C]; activation none or silu.
Tensor groupNormApply(const Tensor& x, const Tensor& coefficients, const std::string& activation, const std::string& dtype);

}  // namespace repa::ops
