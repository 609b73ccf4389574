// The CUDA kernels of ops/elementwise.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void add(cudaStream_t stream, const Tensor& a, const Tensor& b, const Tensor& out);
void scale(cudaStream_t stream, const Tensor& x, float factor, const Tensor& out);
void clamp(cudaStream_t stream, const Tensor& x, float low, float high, const Tensor& out);
void softClamp(cudaStream_t stream, const Tensor& x, float limit, const Tensor& out);
void accumulate(cudaStream_t stream, const Tensor& sum, const Tensor& x);
void fill(cudaStream_t stream, const Tensor& out, float value);
void copy(cudaStream_t stream, const Tensor& out, const Tensor& x);

}  // namespace repa::cuda
