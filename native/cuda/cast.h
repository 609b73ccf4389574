// The CUDA kernels of conversions between element types (ops/linear_combination.h). Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// Every element of x in out's dtype: narrowing rounds to nearest even, as cpu/cast.h has it.
void cast(cudaStream_t stream, const Tensor& x, const Tensor& out);

}  // namespace repa::cuda
