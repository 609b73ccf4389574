// The CUDA kernels of ops/layer_norm.h. Arguments were checked there.
#pragma once

#include "core/norm.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void normModulate(cudaStream_t stream, const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, Norm norm,
                  float epsilon, const Tensor& out, const Tensor& mean, const Tensor& rstd);

/// `dResidual` may be null. `scratch` is f32 [normModulateBackwardScratchFloats].
void normModulateBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                          const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, Norm norm, const Tensor* dResidual,
                          const Tensor& dModulation, const Tensor& dX, const Tensor& scratch);

int64_t normModulateBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width);

void layerNorm(cudaStream_t stream, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, const Tensor& out,
               const Tensor& mean, const Tensor& rstd);

/// `scratch` is f32 [layerNormBackwardScratchFloats].
void layerNormBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                       const Tensor& weight, const Tensor& dWeight, const Tensor& dBias, bool accumulate, const Tensor& dX,
                       const Tensor& scratch);

int64_t layerNormBackwardScratchFloats(int64_t rows, int64_t width, bool accumulate);

}  // namespace repa::cuda
