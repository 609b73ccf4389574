// The CUDA kernels of ops/attention.h's qkNorm. Arguments were checked there.
#pragma once

#include "core/norm.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// An RMSNorm has no biases: null.
void qkNorm(cudaStream_t stream, const Tensor& qkv, const Tensor& qWeight, const Tensor* qBias, const Tensor& kWeight, const Tensor* kBias,
            int64_t heads, Norm norm, float epsilon, const Tensor& normed, const Tensor& mean, const Tensor& rstd);

/// Where the parameters' gradients go; those of biases may be null.
struct QkNormGradients {
  float* dqWeight;
  float* dqBias;
  float* dkWeight;
  float* dkBias;
};

/// Floats of scratch that qkNormBackward wants. Throws Error(shape) where head_dim is too large for its sums.
int64_t qkNormBackwardScratchFloats(const Tensor& qkv, int64_t heads);

void qkNormBackward(cudaStream_t stream, const Tensor& dNormed, const Tensor& qkv, const Tensor& qWeight, const Tensor& kWeight,
                    const Tensor& mean, const Tensor& rstd, int64_t heads, Norm norm, const QkNormGradients& gradients,
                    bool accumulate, float* scratch, const Tensor& dqkv);

}  // namespace repa::cuda
