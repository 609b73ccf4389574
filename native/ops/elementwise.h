// Arithmetic that the gradient tape needs between the larger kernels, element by element; operands of one dtype.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// a + b, of equal shapes.
Tensor add(const Tensor& a, const Tensor& b);
/// factor · x.
Tensor scale(const Tensor& x, double factor);

/// x held within [low, high]; NaN stays NaN.
Tensor clamp(const Tensor& x, double low, double high);
/// limit tanh(x / limit), f32: nearly x where that is small, and never beyond the limit.
Tensor softClamp(const Tensor& x, double limit);
/// sum += x, in place.
void accumulate(const Tensor& sum, const Tensor& x);
/// Every element becomes `value`, in place.
void fill(const Tensor& out, double value);
/// out = x, in place; equal shapes and dtypes, any of them.
void copy(const Tensor& out, const Tensor& x);

}  // namespace repa::ops
