// The CUDA kernels of ops/reduction.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `scratch` is f32 [columnSumScratchFloats].
void columnSum(cudaStream_t stream, const Tensor& x, const Tensor& out, bool accumulate, const Tensor& scratch);
int64_t columnSumScratchFloats(const Tensor& x);

/// `scratch` is f32 [sumScratchFloats].
void sum(cudaStream_t stream, const Tensor& x, double factor, const Tensor& out, const Tensor& scratch);
int64_t sumScratchFloats(const Tensor& x);

}  // namespace repa::cuda
