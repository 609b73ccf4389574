// The CUDA kernels of ops/token_grid.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void unfoldTokens(cudaStream_t stream, const Tensor& x, int64_t rows, int64_t columns, const Tensor& out);
void unfoldTokensBackward(cudaStream_t stream, const Tensor& dOut, int64_t rows, int64_t columns, const Tensor& dX);
void standardizeTokens(cudaStream_t stream, const Tensor& x, float share, float epsilon, const Tensor& out);

}  // namespace repa::cuda
