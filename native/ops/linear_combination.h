// Weighted sums in float64 (samplers' states) and conversions between element types.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// Σ_k coefficients[k] · values[k] in float64; values f32 or f64 of equal shapes, one to six of them.
Tensor linearCombination(const std::vector<double>& coefficients, const std::vector<Tensor>& values);

/// x under another dtype: f32 to and from bf16, f16 and f64, and u8 and i32 to f32. Narrowing rounds to nearest even.
Tensor cast(const Tensor& x, const std::string& dtype);

}  // namespace repa::ops
