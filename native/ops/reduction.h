// Sums, in a fixed order: the same bits at every call.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// Writes, or with `accumulate` adds, the sum of x [..., C] over all rows to out [C] (f32): a Linear's bias gradient.
void columnSum(const Tensor& x, const Tensor& out, bool accumulate);

/// factor · the sum of all elements, a scalar; summed in double.
Tensor sum(const Tensor& x, double factor);

}  // namespace repa::ops
