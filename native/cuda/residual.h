// The CUDA kernels of ops/residual.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void gatedResidual(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& out);

/// `dBias` may be null. `scratch` is f32 [gatedResidualBackwardScratchFloats].
void gatedResidualBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                           const Tensor& dModulation, const Tensor* dBias, bool accumulateBias, const Tensor& dY, const Tensor& scratch);

int64_t gatedResidualBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width, bool hasBias);

void layerScale(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& out);

/// `scratch` is f32 [layerScaleBackwardScratchFloats].
void layerScaleBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma,
                        bool accumulate, const Tensor& dY, const Tensor& scratch);

int64_t layerScaleBackwardScratchFloats(int64_t rows, int64_t width, bool accumulate);

}  // namespace repa::cuda
