// Softmax over the last axis: for attention whose heads are wider than the fused kernels take. Forward only.
#pragma once

#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// softmax(scale x) over the last axis: x [..., C] f32 -> the same shape, of `dtype`.
Tensor softmax(const Tensor& x, double scale, const std::string& dtype);

}  // namespace repa::ops
