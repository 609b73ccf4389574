#include "ops/layer_norm.h"

#include "cpu/layer_norm.h"
#include "cuda/layer_norm.h"
#include "ops/modulation.h"
#include "ops/norm.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 3> normModulate(const Tensor& x, const Tensor& modulation, int64_t shiftChunk, int64_t scaleChunk, const std::string& normName,
                                   double epsilon, const std::string& dtype) {
  const char* op = "normModulate";
  const Norm norm = normOf(op, normName);
  requireRank(op, "x", x, 3, "[B, T, D]");
  const DType outDType = computeDType(op, x.device(), dtype);
  requireModulation(op, "modulation", modulation, x);
  const float* shift = modulationChunk(op, modulation, shiftChunk);
  const float* scale = modulationChunk(op, modulation, scaleChunk);
  const Tensor out = Tensor::empty(x.device(), x.shape(), outDType, op);
  const Tensor mean = Tensor::empty(x.device(), {x.size(0), x.size(1)}, DType::f32, op);
  const Tensor rstd = Tensor::empty(x.device(), {x.size(0), x.size(1)}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::normModulate(stream, x, modulation, shiftChunk, scaleChunk, norm, static_cast<float>(epsilon), out, mean, rstd);
      });
      return {out, mean, rstd};
    }
  const cpu::LayerNormModulateArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .epsilon = static_cast<float>(epsilon),
                                        .centred = isCentred(norm), .base = factorBase(norm), .x = x.f32(), .shift = shift, .scale = scale,
                                        .modulationStride = modulationStride(modulation), .out = out.f32(), .mean = mean.f32(),
                                        .rstd = rstd.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().modulate(pool, args); });
  return {out, mean, rstd};
}

Tensor normModulateBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& modulation,
                            int64_t shiftChunk, int64_t scaleChunk, const std::string& normName, const std::optional<Tensor>& dResidual,
                            const Tensor& dModulation) {
  const char* op = "normModulateBackward";
  const Norm norm = normOf(op, normName);
  requireRank(op, "x", x, 3, "[B, T, D]");
  requireCompute(op, "dOut", dOut);
  requireShape(op, "dOut", dOut, x.shape(), dOut.dtype());
  requireShape(op, "mean", mean, {x.size(0), x.size(1)});
  requireShape(op, "rstd", rstd, {x.size(0), x.size(1)});
  requireModulation(op, "modulation", modulation, x);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  if (dResidual) requireShape(op, "dResidual", *dResidual, x.shape());
  requireDistinctChunks(op, {shiftChunk, scaleChunk});
  const float* scale = modulationChunk(op, modulation, scaleChunk);
  float* dShift = modulationChunk(op, dModulation, shiftChunk);
  float* dScale = modulationChunk(op, dModulation, scaleChunk);
  const Tensor dX = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::normModulateBackwardScratchFloats(x.size(0), x.size(1), x.size(2)), op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::normModulateBackward(stream, dOut, x, mean, rstd, modulation, shiftChunk, scaleChunk, norm, dResidual ? &*dResidual : nullptr,
                                   dModulation, dX, scratch);
      });
      return dX;
    }
  CpuDevice& queue = cpuQueue(op, x);
  cpu::LayerNormModulateBackwardArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .centred = isCentred(norm),
                                          .base = factorBase(norm), .x = x.f32(), .mean = mean.f32(), .rstd = rstd.f32(), .scale = scale,
                                          .modulationStride = modulationStride(modulation), .dOut = dOut.f32(),
                                          .dResidual = dResidual ? dResidual->f32() : nullptr, .dX = dX.f32(),
                                          .dShift = dShift, .dScale = dScale, .dModulationStride = modulationStride(dModulation),
                                          .scratch = nullptr};
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
  const Tensor out = Tensor::empty(x.device(), x.shape(), outDType, op);
  const Tensor mean = Tensor::empty(x.device(), {rows}, DType::f32, op);
  const Tensor rstd = Tensor::empty(x.device(), {rows}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::layerNorm(stream, x, weight, bias, static_cast<float>(epsilon), out, mean, rstd);
      });
      return {out, mean, rstd};
    }
  const cpu::LayerNormArgs args{.rows = rows, .width = width, .epsilon = static_cast<float>(epsilon), .x = x.f32(), .weight = weight.f32(),
                                .bias = bias.f32(), .out = out.f32(), .mean = mean.f32(), .rstd = rstd.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().affine(pool, args); });
  return {out, mean, rstd};
}

Tensor layerNormBackward(const Tensor& dOut, const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                         const Tensor& dWeight, const Tensor& dBias, bool accumulate) {
  const char* op = "layerNormBackward";
  requireLastAxis(op, "x", x, "[..., D]");
  requireCompute(op, "dOut", dOut);
  requireShape(op, "dOut", dOut, x.shape(), dOut.dtype());
  const int64_t width = x.size(-1), rows = rowsOf(x.shape());
  requireShape(op, "mean", mean, {rows});
  requireShape(op, "rstd", rstd, {rows});
  requireShape(op, "weight", weight, {width});
  requireShape(op, "dWeight", dWeight, {width});
  requireShape(op, "dBias", dBias, {width});
  const Tensor dX = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::layerNormBackwardScratchFloats(rows, width, accumulate), op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::layerNormBackward(stream, dOut, x, mean, rstd, weight, dWeight, dBias, accumulate, dX, scratch);
      });
      return dX;
    }
  CpuDevice& queue = cpuQueue(op, x);
  cpu::LayerNormBackwardArgs args{.rows = rows, .width = width, .x = x.f32(), .mean = mean.f32(), .rstd = rstd.f32(),
                                  .weight = weight.f32(),
                                  .dOut = dOut.f32(), .dResidual = nullptr, .dX = dX.f32(), .dWeight = dWeight.f32(), .dBias = dBias.f32(),
                                  .accumulate = accumulate, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::layerNormKernels().affineBackwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::layerNormKernels().affineBackward(pool, args); });
  return dX;
}

}  // namespace repa::ops
