#include "ops/half_block.h"

#include <algorithm>

#include "cpu/layer_norm.h"
#include "cpu/residual.h"
#include "cuda/half_block.h"
#include "ops/modulation.h"
#include "ops/norm.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 4> gatedResidualNormModulate(const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                                                int64_t shiftChunk, int64_t scaleChunk, const std::string& normName, double epsilon) {
  const char* op = "gatedResidualNormModulate";
  const Norm norm = normOf(op, normName);
  requireRank(op, "x", x, 3, "[B, T, D]");
  requireCompute(op, "y", y);
  requireShape(op, "y", y, x.shape(), y.dtype());
  requireModulation(op, "modulation", modulation, x);
  const float* gate = modulationChunk(op, modulation, gateChunk);
  const float* shift = modulationChunk(op, modulation, shiftChunk);
  const float* scale = modulationChunk(op, modulation, scaleChunk);
  const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2), stride = modulationStride(modulation);
  const Tensor joined = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  const Tensor out = Tensor::empty(x.device(), x.shape(), y.dtype(), op);
  const Tensor mean = Tensor::empty(x.device(), {batch, tokens}, DType::f32, op);
  const Tensor rstd = Tensor::empty(x.device(), {batch, tokens}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::gatedResidualNormModulate(stream, x, y, modulation, gateChunk, shiftChunk, scaleChunk, norm, static_cast<float>(epsilon), joined,
                                        out, mean, rstd);
      });
      return {joined, out, mean, rstd};
    }
  const cpu::GatedResidualArgs join{.batch = batch, .tokens = tokens, .width = width, .x = x.f32(), .y = y.f32(), .gate = gate,
                                    .gateStride = stride, .out = joined.f32()};
  const cpu::LayerNormModulateArgs modulate{.batch = batch, .tokens = tokens, .width = width, .epsilon = static_cast<float>(epsilon),
                                            .centred = isCentred(norm), .base = factorBase(norm), .x = joined.f32(), .shift = shift, .scale = scale, .modulationStride = stride, .out = out.f32(),
                                            .mean = mean.f32(), .rstd = rstd.f32()};
  cpuQueue(op, x).enqueue(op, [join, modulate](ThreadPool& pool) {
    cpu::residualKernels().gated(pool, join);
    cpu::layerNormKernels().modulate(pool, modulate);
  });
  return {joined, out, mean, rstd};
}

std::array<Tensor, 2> gatedResidualNormModulateBackward(const Tensor& dOut, const std::optional<Tensor>& dStream, const Tensor& stream,
                                                        const Tensor& mean, const Tensor& rstd, const Tensor& y, const Tensor& modulation,
                                                        int64_t gateChunk, int64_t shiftChunk, int64_t scaleChunk, const std::string& normName,
                                                        const Tensor& dModulation, const std::optional<Tensor>& dBias, bool accumulateBias) {
  const char* op = "gatedResidualNormModulateBackward";
  const Norm norm = normOf(op, normName);
  requireRank(op, "stream", stream, 3, "[B, T, D]");
  const int64_t batch = stream.size(0), tokens = stream.size(1), width = stream.size(2);
  requireCompute(op, "dOut", dOut);
  requireShape(op, "dOut", dOut, stream.shape(), dOut.dtype());
  if (dStream) requireShape(op, "dStream", *dStream, stream.shape());
  requireShape(op, "mean", mean, {batch, tokens});
  requireShape(op, "rstd", rstd, {batch, tokens});
  requireShape(op, "y", y, stream.shape(), dOut.dtype());
  requireModulation(op, "modulation", modulation, stream);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  if (dBias) requireShape(op, "dBias", *dBias, {width});
  requireDistinctChunks(op, {gateChunk, shiftChunk, scaleChunk});
  const float* gate = modulationChunk(op, modulation, gateChunk);
  const float* scale = modulationChunk(op, modulation, scaleChunk);
  float* dGate = modulationChunk(op, dModulation, gateChunk);
  float* dShift = modulationChunk(op, dModulation, shiftChunk);
  float* dScale = modulationChunk(op, dModulation, scaleChunk);
  const int64_t stride = modulationStride(modulation);
  const Tensor dX = Tensor::empty(stream.device(), stream.shape(), DType::f32, op);
  const Tensor dY = Tensor::empty(stream.device(), stream.shape(), y.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(stream)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::halfBlockBackwardScratchFloats(batch, tokens, width, dBias.has_value()), op);
      cuda->enqueue(op, [&](cudaStream_t queue) {
        cuda::gatedResidualNormModulateBackward(queue, dOut, stream, mean, rstd, y, modulation, gateChunk, shiftChunk, scaleChunk, norm,
                                                dStream ? &*dStream : nullptr,
                                                {dX, dY, dModulation, dBias ? &*dBias : nullptr, accumulateBias}, scratch);
      });
      return {dX, dY};
    }
  CpuDevice& queue = cpuQueue(op, stream);
  cpu::LayerNormModulateBackwardArgs modulate{.batch = batch, .tokens = tokens, .width = width, .centred = isCentred(norm),
                                              .base = factorBase(norm), .x = stream.f32(), .mean = mean.f32(),
                                              .rstd = rstd.f32(), .scale = scale, .modulationStride = stride, .dOut = dOut.f32(),
                                              .dResidual = dStream ? dStream->f32() : nullptr, .dX = dX.f32(), .dShift = dShift,
                                              .dScale = dScale,
                                              .dModulationStride = stride, .scratch = nullptr};
  cpu::GatedResidualBackwardArgs join{.batch = batch, .tokens = tokens, .width = width, .dOut = dX.f32(), .y = y.f32(), .gate = gate,
                                      .gateStride = stride, .dY = dY.f32(), .dGate = dGate, .dGateStride = stride,
                                      .dBias = dBias ? dBias->f32() : nullptr,
                                      .accumulateBias = accumulateBias, .scratch = nullptr};
  // One after the other, so one scratch does for both.
  const int64_t floats = std::max(cpu::layerNormKernels().modulateBackwardScratchFloats(modulate, queue.threads()),
                                  cpu::residualKernels().gatedBackwardScratchFloats(join, queue.threads()));
  const Tensor scratch = scratchFloats(queue, floats, op);
  modulate.scratch = join.scratch = scratch.f32();
  queue.enqueue(op, [modulate, join](ThreadPool& pool) {
    cpu::layerNormKernels().modulateBackward(pool, modulate);
    cpu::residualKernels().gatedBackward(pool, join);
  });
  return {dX, dY};
}

}  // namespace repa::ops
