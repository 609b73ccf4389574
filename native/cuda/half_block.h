// The CUDA kernels of ops/half_block.h. Arguments were checked there.
#pragma once

#include "core/norm.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void gatedResidualNormModulate(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                               int64_t shiftChunk, int64_t scaleChunk, Norm norm, float epsilon, const Tensor& joined,
                               const Tensor& out, const Tensor& mean, const Tensor& rstd);

struct HalfBlockGradients {
  const Tensor& dX;
  const Tensor& dY;
  const Tensor& dModulation;
  const Tensor* dBias;
  bool accumulateBias;
};

/// `dResidual` may be null. `scratch` is f32 [halfBlockBackwardScratchFloats].
void gatedResidualNormModulateBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean,
                                       const Tensor& rstd, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                                       int64_t shiftChunk, int64_t scaleChunk, Norm norm, const Tensor* dResidual,
                                       const HalfBlockGradients& gradients, const Tensor& scratch);

int64_t halfBlockBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width, bool hasBias);

}  // namespace repa::cuda
