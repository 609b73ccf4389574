#include "ops/residual.h"

#include "cpu/residual.h"
#include "ops/modulation.h"
#include "ops/require.h"

namespace repa::ops {

Tensor gatedResidual(const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk) {
  const char* op = "gatedResidual";
  requireRank(op, "x", x, 3, "[B, T, D]");
  requireShape(op, "y", y, x.shape());
  requireModulation(op, "modulation", modulation, x);
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, x.shape(), DType::f32, op);
  const cpu::GatedResidualArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .x = x.f32(), .y = y.f32(),
                                    .gate = modulationChunk(op, modulation, gateChunk), .gateStride = modulationStride(modulation), .out = out.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().gated(pool, args); });
  return out;
}

Tensor gatedResidualBackward(const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& dModulation,
                             const std::optional<Tensor>& dBias, bool accumulateBias) {
  const char* op = "gatedResidualBackward";
  requireRank(op, "dOut", dOut, 3, "[B, T, D]");
  requireShape(op, "y", y, dOut.shape());
  requireModulation(op, "modulation", modulation, dOut);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  if (dBias) requireShape(op, "dBias", *dBias, {dOut.size(2)});
  CpuDevice& queue = cpuQueue(op, dOut);
  const Tensor dY = Tensor::empty(queue, dOut.shape(), DType::f32, op);
  cpu::GatedResidualBackwardArgs args{.batch = dOut.size(0), .tokens = dOut.size(1), .width = dOut.size(2), .dOut = dOut.f32(), .y = y.f32(),
                                      .gate = modulationChunk(op, modulation, gateChunk), .gateStride = modulationStride(modulation),
                                      .dY = dY.f32(), .dGate = modulationChunk(op, dModulation, gateChunk),
                                      .dGateStride = modulationStride(dModulation), .dBias = dBias ? dBias->f32() : nullptr,
                                      .accumulateBias = accumulateBias, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::residualKernels().gatedBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().gatedBackward(pool, args); });
  return dY;
}

Tensor layerScale(const Tensor& x, const Tensor& y, const Tensor& gamma) {
  const char* op = "layerScale";
  requireLastAxis(op, "x", x, "[..., D]");
  requireShape(op, "y", y, x.shape());
  requireShape(op, "gamma", gamma, {x.size(-1)});
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, x.shape(), DType::f32, op);
  const cpu::LayerScaleArgs args{.rows = rowsOf(x.shape()), .width = x.size(-1), .x = x.f32(), .y = y.f32(), .gamma = gamma.f32(), .out = out.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().layerScale(pool, args); });
  return out;
}

Tensor layerScaleBackward(const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma, bool accumulate) {
  const char* op = "layerScaleBackward";
  requireLastAxis(op, "dOut", dOut, "[..., D]");
  requireShape(op, "y", y, dOut.shape());
  requireShape(op, "gamma", gamma, {dOut.size(-1)});
  requireShape(op, "dGamma", dGamma, gamma.shape());
  CpuDevice& queue = cpuQueue(op, dOut);
  const Tensor dY = Tensor::empty(queue, dOut.shape(), DType::f32, op);
  cpu::LayerScaleBackwardArgs args{.rows = rowsOf(dOut.shape()), .width = dOut.size(-1), .dOut = dOut.f32(), .y = y.f32(), .gamma = gamma.f32(),
                                   .dY = dY.f32(), .dGamma = dGamma.f32(), .accumulateGamma = accumulate, .dBias = nullptr, .accumulateBias = false,
                                   .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::residualKernels().layerScaleBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().layerScaleBackward(pool, args); });
  return dY;
}

}  // namespace repa::ops
