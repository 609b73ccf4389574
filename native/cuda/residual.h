// The CUDA kernels of ops/residual.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void gatedResidual(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& out);

/// `dBias` may be null. `scratch` is f32 [residualBackwardScratchFloats].
void gatedResidualBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                           const Tensor& dModulation, const Tensor* dBias, bool accumulateBias, const Tensor& dY, const Tensor& scratch);

void layerScale(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& out);

void layerScaleBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma,
                        bool accumulate, const Tensor& dY, const Tensor& scratch);

/// For `groups` samples of `rows` tokens each; LayerScale has one group.
int64_t residualBackwardScratchFloats(int64_t groups, int64_t rows, int64_t width);

}  // namespace repa::cuda
