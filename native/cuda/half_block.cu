// Where a branch's output joins the stream and the next branch's norm and modulation begin: twice in a block, and the place where
// fusing saves most. Forward (normalize_rows.h): reads the stream and the branch, writes both results, 6 passes over an activation in 16
// bits instead of 8. Backward (branch_backward.h): 9 passes instead of 13, and no pass for the gradient of the bias.
#include "cuda/half_block.h"

#include "cuda/branch_backward.h"
#include "cuda/dtype_switch.h"
#include "cuda/modulation.h"
#include "cuda/normalize_rows.h"

namespace repa::cuda {

void gatedResidualNormModulate(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                               int64_t shiftChunk, int64_t scaleChunk, Norm norm, float epsilon, const Tensor& joined,
                               const Tensor& out, const Tensor& mean, const Tensor& rstd) {
  withComputeType(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    normalizeRows<true, T>(stream, {.rows = x.size(0) * x.size(1),
                                    .width = static_cast<int>(x.size(2)),
                                    .groupRows = x.size(1),
                                    .epsilon = epsilon,
                                    .centred = isCentred(norm),
                                    .x = x.f32(),
                                    .y = elements<const T>(y),
                                    .gate = chunkOf(modulation, gateChunk),
                                    .gateStride = strideOf(modulation),
                                    .stream = joined.f32(),
                                    .base = factorBase(norm),
                                    .factor = chunkOf(modulation, scaleChunk),
                                    .offset = chunkOf(modulation, shiftChunk),
                                    .factorStride = strideOf(modulation),
                                    .out = elements<T>(out),
                                    .mean = mean.f32(),
                                    .rstd = rstd.f32()});
  });
}

void gatedResidualNormModulateBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& mean,
                                       const Tensor& rstd, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                                       int64_t shiftChunk, int64_t scaleChunk, Norm norm, const Tensor* dResidual,
                                       const HalfBlockGradients& gradients, const Tensor& scratch) {
  const int64_t stride = strideOf(gradients.dModulation);
  RowSum dBias;
  if (gradients.dBias) dBias = RowSum{.out = gradients.dBias->f32(), .acrossGroups = true, .accumulate = gradients.accumulateBias};
  withComputeType(dOut.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    branchBackward<true, true, T>(stream, {.groups = x.size(0),
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
                                           .dX = gradients.dX.f32(),
                                           .y = elements<const T>(y),
                                           .gate = chunkOf(modulation, gateChunk),
                                           .gateStride = strideOf(modulation),
                                           .dY = elements<T>(gradients.dY),
                                           .dOffset = {.out = chunkOf(gradients.dModulation, shiftChunk), .stride = stride},
                                           .dFactor = {.out = chunkOf(gradients.dModulation, scaleChunk), .stride = stride},
                                           .dGate = {.out = chunkOf(gradients.dModulation, gateChunk), .stride = stride},
                                           .dBias = dBias,
                                           .scratch = scratch.f32()});
  });
}

int64_t halfBlockBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width, bool hasBias) {
  return branchBackwardScratchFloats(batch, tokens, width, hasBias ? 4 : 3, hasBias ? 1 : 0);
}

}  // namespace repa::cuda
