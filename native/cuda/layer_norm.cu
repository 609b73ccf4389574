// LayerNorm or RMSNorm over the last axis, modulated by a sample's condition (adaLN), and LayerNorm affine. Forward: normalize_rows.h;
// backward: branch_backward.h without a branch below. Modulated, (1 + scale), or of an RMSNorm all that the chunk has, is a sample's factor
// and shift its offset; affine, weight and bias are those of one group of all rows.
#include "cuda/layer_norm.h"

#include "cuda/branch_backward.h"
#include "cuda/dtype_switch.h"
#include "cuda/modulation.h"
#include "cuda/normalize_rows.h"

namespace repa::cuda {

void normModulate(cudaStream_t stream, const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, Norm norm,
                  float epsilon, const Tensor& out, const Tensor& mean, const Tensor& rstd) {
  withComputeType(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    normalizeRows<false, T>(stream, {.rows = x.size(0) * x.size(1),
                                     .width = static_cast<int>(x.size(2)),
                                     .groupRows = x.size(1),
                                     .epsilon = epsilon,
                                     .centred = isCentred(norm),
                                     .x = x.f32(),
                                     .y = nullptr,
                                     .gate = nullptr,
                                     .gateStride = 0,
                                     .stream = nullptr,
                                     .base = factorBase(norm),
                                     .factor = chunkOf(modulation, scaleChunk),
                                     .offset = chunkOf(modulation, shiftChunk),
                                     .factorStride = strideOf(modulation),
                                     .out = elements<T>(out),
                                     .mean = mean.f32(),
                                     .rstd = rstd.f32()});
  });
}

void normModulateBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                          const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, Norm norm, const Tensor* dResidual,
                          const Tensor& dModulation, const Tensor& dX, const Tensor& scratch) {
  withComputeType(dOut.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    branchBackward<true, false, T>(stream, {.groups = x.size(0),
                                            .rows = x.size(1),
                                            .width = x.size(2),
                                            .dOut = elements<const T>(dOut),
                                            .x = x.f32(),
                                            .mean = mean.f32(),
                                            .rstd = rstd.f32(),
                                            .centred = isCentred(norm),
                                            .base = factorBase(norm),
                                            .factor = chunkOf(modulation, scaleChunk),
                                            .factorStride = strideOf(modulation),
                                            .dResidual = dResidual ? dResidual->f32() : nullptr,
                                            .dX = dX.f32(),
                                            .y = nullptr,
                                            .gate = nullptr,
                                            .gateStride = 0,
                                            .dY = nullptr,
                                            .dOffset = {.out = chunkOf(dModulation, shiftChunk), .stride = strideOf(dModulation)},
                                            .dFactor = {.out = chunkOf(dModulation, scaleChunk), .stride = strideOf(dModulation)},
                                            .dGate = {},
                                            .dBias = {},
                                            .scratch = scratch.f32()});
  });
}

void layerNorm(cudaStream_t stream, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, const Tensor& out,
               const Tensor& mean, const Tensor& rstd) {
  withComputeType(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    normalizeRows<false, T>(stream, {.rows = mean.elements(),
                                     .width = static_cast<int>(x.size(-1)),
                                     .groupRows = mean.elements(),
                                     .epsilon = epsilon,
                                     .centred = true,
                                     .x = x.f32(),
                                     .y = nullptr,
                                     .gate = nullptr,
                                     .gateStride = 0,
                                     .stream = nullptr,
                                     .base = 0.0f,
                                     .factor = weight.f32(),
                                     .offset = bias.f32(),
                                     .factorStride = 0,
                                     .out = elements<T>(out),
                                     .mean = mean.f32(),
                                     .rstd = rstd.f32()});
  });
}

void layerNormBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd,
                       const Tensor& weight, const Tensor& dWeight, const Tensor& dBias, bool accumulate, const Tensor& dX,
                       const Tensor& scratch) {
  withComputeType(dOut.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    branchBackward<true, false, T>(stream, {.groups = 1,
                                            .rows = mean.elements(),
                                            .width = x.size(-1),
                                            .dOut = elements<const T>(dOut),
                                            .x = x.f32(),
                                            .mean = mean.f32(),
                                            .rstd = rstd.f32(),
                                            .centred = true,
                                            .base = 0.0f,
                                            .factor = weight.f32(),
                                            .factorStride = 0,
                                            .dResidual = nullptr,
                                            .dX = dX.f32(),
                                            .y = nullptr,
                                            .gate = nullptr,
                                            .gateStride = 0,
                                            .dY = nullptr,
                                            .dOffset = {.out = dBias.f32(), .accumulate = accumulate},
                                            .dFactor = {.out = dWeight.f32(), .accumulate = accumulate},
                                            .dGate = {},
                                            .dBias = {},
                                            .scratch = scratch.f32()});
  });
}

int64_t normModulateBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width) {
  return branchBackwardScratchFloats(batch, tokens, width, 2, 0);
}

int64_t layerNormBackwardScratchFloats(int64_t rows, int64_t width, bool accumulate) {
  return branchBackwardScratchFloats(1, rows, width, 2, accumulate ? 2 : 0);
}

}  // namespace repa::cuda
