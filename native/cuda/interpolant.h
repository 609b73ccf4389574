// The CUDA kernels of ops/interpolant.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void interpolant(cudaStream_t stream, const Tensor& x, const Tensor& noise, const Tensor& t, bool cosinePath, const Tensor& interpolated,
                 const Tensor& velocity);
void samplePosterior(cudaStream_t stream, const Tensor& moments, const Tensor& noise, float scale, float bias, const Tensor& latent);

}  // namespace repa::cuda
