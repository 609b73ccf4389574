#include "ops/residual.h"

#include "cpu/residual.h"
#include "cuda/residual.h"
#include "ops/modulation.h"
#include "ops/require.h"

namespace repa::ops {

Tensor gatedResidual(const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk) {
  const char* op = "gatedResidual";
  requireRank(op, "x", x, 3, "[B, T, D]");
  requireCompute(op, "y", y);
  requireShape(op, "y", y, x.shape(), y.dtype());
  requireModulation(op, "modulation", modulation, x);
  const float* gate = modulationChunk(op, modulation, gateChunk);
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::gatedResidual(stream, x, y, modulation, gateChunk, out); });
      return out;
    }
  const cpu::GatedResidualArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .x = x.f32(), .y = y.f32(), .gate = gate,
                                    .gateStride = modulationStride(modulation), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().gated(pool, args); });
  return out;
}

Tensor gatedResidualBackward(const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& dModulation,
                             const std::optional<Tensor>& dBias, bool accumulateBias) {
  const char* op = "gatedResidualBackward";
  requireRank(op, "dOut", dOut, 3, "[B, T, D]");
  requireCompute(op, "y", y);
  requireShape(op, "y", y, dOut.shape(), y.dtype());
  requireModulation(op, "modulation", modulation, dOut);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  if (dBias) requireShape(op, "dBias", *dBias, {dOut.size(2)});
  const float* gate = modulationChunk(op, modulation, gateChunk);
  float* dGate = modulationChunk(op, dModulation, gateChunk);
  const Tensor dY = Tensor::empty(dOut.device(), dOut.shape(), y.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dOut)) {
      const Tensor scratch =
          scratchFloats(*cuda, cuda::gatedResidualBackwardScratchFloats(dOut.size(0), dOut.size(1), dOut.size(2), dBias.has_value()), op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::gatedResidualBackward(stream, dOut, y, modulation, gateChunk, dModulation, dBias ? &*dBias : nullptr, accumulateBias, dY,
                                    scratch);
      });
      return dY;
    }
  CpuDevice& queue = cpuQueue(op, dOut);
  cpu::GatedResidualBackwardArgs args{.batch = dOut.size(0), .tokens = dOut.size(1), .width = dOut.size(2), .dOut = dOut.f32(),
                                      .y = y.f32(),
                                      .gate = gate, .gateStride = modulationStride(modulation), .dY = dY.f32(), .dGate = dGate,
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
  requireCompute(op, "y", y);
  requireShape(op, "y", y, x.shape(), y.dtype());
  requireShape(op, "gamma", gamma, {x.size(-1)});
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::layerScale(stream, x, y, gamma, out); });
      return out;
    }
  const cpu::LayerScaleArgs args{.rows = rowsOf(x.shape()), .width = x.size(-1), .x = x.f32(), .y = y.f32(), .gamma = gamma.f32(),
                                 .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().layerScale(pool, args); });
  return out;
}

Tensor layerScaleBackward(const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma, bool accumulate) {
  const char* op = "layerScaleBackward";
  requireLastAxis(op, "dOut", dOut, "[..., D]");
  requireCompute(op, "y", y);
  requireShape(op, "y", y, dOut.shape(), y.dtype());
  requireShape(op, "gamma", gamma, {dOut.size(-1)});
  requireShape(op, "dGamma", dGamma, gamma.shape());
  const Tensor dY = Tensor::empty(dOut.device(), dOut.shape(), y.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dOut)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::layerScaleBackwardScratchFloats(rowsOf(dOut.shape()), dOut.size(-1), accumulate), op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::layerScaleBackward(stream, dOut, y, gamma, dGamma, accumulate, dY, scratch);
      });
      return dY;
    }
  CpuDevice& queue = cpuQueue(op, dOut);
  cpu::LayerScaleBackwardArgs args{.rows = rowsOf(dOut.shape()), .width = dOut.size(-1), .dOut = dOut.f32(), .y = y.f32(),
                                   .gamma = gamma.f32(),
                                   .dY = dY.f32(), .dGamma = dGamma.f32(), .accumulateGamma = accumulate, .dBias = nullptr,
                                   .accumulateBias = false,
                                   .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::residualKernels().layerScaleBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::residualKernels().layerScaleBackward(pool, args); });
  return dY;
}

}  // namespace repa::ops
