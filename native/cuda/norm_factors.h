// The CUDA kernels of ops/norm_factors.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// modulation [B, 3 N - 1, D] with weights[n] (1 + scale) in place of norm n's scale, chunk 3 n + 1. weights [N, D].
void normFactors(cudaStream_t stream, const Tensor& modulation, const Tensor& weights, const Tensor& out);

/// Of `batch` samples, norms and their width.
int64_t normFactorsBackwardScratchFloats(int64_t batch, int64_t norms, int64_t width);

/// dModulation becomes the modulation's gradient where it was the result's; dWeights gets, or is increased by, the weights'.
void normFactorsBackward(cudaStream_t stream, const Tensor& dModulation, const Tensor& modulation, const Tensor& weights,
                         const Tensor& dWeights, bool accumulate, float* scratch);

}  // namespace repa::cuda
