// The CUDA kernel of weighted sums in float64 (ops/linear_combination.h). Arguments were checked there.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// out = sum over k of coefficients[k] values[k], in float64 and in the order of the terms.
void linearCombination(cudaStream_t stream, const std::vector<double>& coefficients, const std::vector<Tensor>& values, const Tensor& out);

}  // namespace repa::cuda
