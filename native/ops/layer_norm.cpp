#include "ops/layer_norm.h"

#include "cpu/layer_norm.h"
#include "ops/modulation.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 3> layerNormModulate(const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, double epsilon,
                                        const std::string& dtype) {
  const char* op = "layerNormModulate";
  requireRank(op, "x", x, 3, "[B, T, D]");
  const DType outDType = computeDType(op, x.device(), dtype);
  requireModulation(op, "modulation", modulation, x);
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, x.shape(), outDType, op);
  const Tensor mean = Tensor::empty(queue, {x.size(0), x.size(1)}, DType::f32, op);
  const Tensor rstd = Tensor::empty(queue, {x.size(0), x.size(1)}, DType::f32, op);
  const cpu::LayerNormModulateArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2),
                                        .epsilon = static_cast<float>(epsilon), .x = x.f32(),
                                        .shift = modulationChunk(op, modulation, shiftChunk), .scale = modulationChunk(op, modulation, scaleChunk),
                                        .modulationStride = modulationStride(modulation), .out = out.f32(), .mean = mean.f32(), .rstd = rstd.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().modulate(pool, args); });
  return {out, mean, rstd};
}

Tensor layerNormModulateBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& modulation,
                                 int64_t shiftChunk, int64_t scaleChunk, const std::optional<Tensor>& dResidual, const Tensor& dModulation) {
  const char* op = "layerNormModulateBackward";
  requireRank(op, "x", x, 3, "[B, T, D]");
  requireShape(op, "dOut", dOut, x.shape());
  requireShape(op, "mean", mean, {x.size(0), x.size(1)});
  requireShape(op, "rstd", rstd, {x.size(0), x.size(1)});
  requireModulation(op, "modulation", modulation, x);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  if (dResidual) requireShape(op, "dResidual", *dResidual, x.shape());
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor dX = Tensor::empty(queue, x.shape(), DType::f32, op);
  cpu::LayerNormModulateBackwardArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .x = x.f32(), .mean = mean.f32(),
                                          .rstd = rstd.f32(), .scale = modulationChunk(op, modulation, scaleChunk),
                                          .modulationStride = modulationStride(modulation), .dOut = dOut.f32(),
                                          .dResidual = dResidual ? dResidual->f32() : nullptr, .dX = dX.f32(),
                                          .dShift = modulationChunk(op, dModulation, shiftChunk),
                                          .dScale = modulationChunk(op, dModulation, scaleChunk),
                                          .dModulationStride = modulationStride(dModulation), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::layerNormKernels().modulateBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().modulateBackward(pool, args); });
  return dX;
}

std::array<Tensor, 3> layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const std::string& dtype) {
  const char* op = "layerNorm";
  requireLastAxis(op, "x", x, "[..., D]");
  const int64_t width = x.size(-1), rows = rowsOf(x.shape());
  requireShape(op, "weight", weight, {width});
  requireShape(op, "bias", bias, {width});
  const DType outDType = computeDType(op, x.device(), dtype);
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, x.shape(), outDType, op);
  const Tensor mean = Tensor::empty(queue, {rows}, DType::f32, op);
  const Tensor rstd = Tensor::empty(queue, {rows}, DType::f32, op);
  const cpu::LayerNormArgs args{.rows = rows, .width = width, .epsilon = static_cast<float>(epsilon), .x = x.f32(), .weight = weight.f32(),
                                .bias = bias.f32(), .out = out.f32(), .mean = mean.f32(), .rstd = rstd.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().affine(pool, args); });
  return {out, mean, rstd};
}

Tensor layerNormBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                         const Tensor& dWeight, const Tensor& dBias, bool accumulate) {
  const char* op = "layerNormBackward";
  requireLastAxis(op, "x", x, "[..., D]");
  requireShape(op, "dOut", dOut, x.shape());
  const int64_t width = x.size(-1), rows = rowsOf(x.shape());
  requireShape(op, "mean", mean, {rows});
  requireShape(op, "rstd", rstd, {rows});
  requireShape(op, "weight", weight, {width});
  requireShape(op, "dWeight", dWeight, {width});
  requireShape(op, "dBias", dBias, {width});
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor dX = Tensor::empty(queue, x.shape(), DType::f32, op);
  cpu::LayerNormBackwardArgs args{.rows = rows, .width = width, .x = x.f32(), .mean = mean.f32(), .rstd = rstd.f32(), .weight = weight.f32(),
                                  .dOut = dOut.f32(), .dResidual = nullptr, .dX = dX.f32(), .dWeight = dWeight.f32(), .dBias = dBias.f32(),
                                  .accumulate = accumulate, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::layerNormKernels().affineBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().affineBackward(pool, args); });
  return dX;
}

}  // namespace repa::ops
