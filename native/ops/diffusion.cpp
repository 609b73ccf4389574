#include "ops/diffusion.h"

#include "cpu/diffusion.h"
#include "cuda/diffusion.h"
#include "ops/channels.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

/// Numbers of one sample.
int64_t sampleSize(const Tensor& x) { return x.size(0) > 0 ? x.elements() / x.size(0) : 0; }

void requireChannels(const char* op, const char* name, const Tensor& tensor) {
  require(tensor.shape().rank() >= 2, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected [B, C, ...].");
}

void requireSamples(const char* op, const char* name, const Tensor& tensor, DType dtype) {
  requireDType(op, name, tensor, dtype);
  requireChannels(op, name, tensor);
}

}  // namespace

Tensor combineSamples(const Tensor& x, const std::optional<Tensor>& y, const Tensor& rows, const Tensor& coefficients) {
  const char* op = "combineSamples";
  requireDType(op, "x", x, DType::f32);
  require(x.shape().rank() >= 1, op, "x has shape " + x.shape().text() + "; expected [B, ...].");
  if (y) requireShape(op, "y", *y, x.shape());
  requireShape(op, "rows", rows, {x.size(0)}, DType::i32);
  requireRank(op, "coefficients", coefficients, 2, "[N, 2]", DType::f64);
  requireShape(op, "coefficients", coefficients, {coefficients.size(0), 2}, DType::f64);
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::combineSamples(stream, x, y ? &*y : nullptr, rows, coefficients, out); });
      return out;
    }
  const cpu::CombineSamplesArgs args{.x = x.f32(), .y = y ? y->f32() : nullptr, .rows = rows.i32(), .coefficients = coefficients.f64(),
                                     .out = out.f32(), .batch = x.size(0), .size = sampleSize(x), .tableRows = coefficients.size(0)};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::diffusionKernels().combineSamples(pool, args); });
  return out;
}

Tensor denoisingStep(const Tensor& x, const Tensor& prediction, const std::optional<Tensor>& noise, const std::vector<double>& coefficients,
                     bool clip) {
  const char* op = "denoisingStep";
  requireSamples(op, "x", x, DType::f64);
  requireSamples(op, "prediction", prediction, DType::f32);
  const bool hasV = prediction.shape() != x.shape();
  if (hasV) requireShape(op, "prediction", prediction, withChannels(x.shape(), 2 * x.size(1)));
  if (noise) requireShape(op, "noise", *noise, x.shape());
  require(coefficients.size() == 6, op, std::to_string(coefficients.size()) + " coefficients; expected 6.");
  const cpu::DenoisingStepCoefficients k{coefficients[0], coefficients[1], coefficients[2], coefficients[3], coefficients[4], coefficients[5]};
  require(!noise || hasV || k.minLogVariance == k.maxLogVariance, op, "a prediction without v cannot choose between two variances.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f64, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::denoisingStep(stream, x, prediction, noise ? &*noise : nullptr, k, clip, hasV, out); });
      return out;
    }
  const cpu::DenoisingStepArgs args{.x = x.f64(), .prediction = prediction.f32(), .noise = noise ? noise->f32() : nullptr, .out = out.f64(),
                                    .coefficients = k, .clip = clip, .hasV = hasV, .batch = x.size(0), .size = sampleSize(x)};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::diffusionKernels().denoisingStep(pool, args); });
  return out;
}

Tensor guide(const Tensor& prediction, double scale, int64_t channels) {
  const char* op = "guide";
  requireSamples(op, "prediction", prediction, DType::f32);
  require(prediction.size(0) % 2 == 0, op, "prediction has shape " + prediction.shape().text() + "; expected as many conditional samples as unconditional ones.");
  require(channels >= 0 && channels <= prediction.size(1), op,
          std::to_string(channels) + " channels of a prediction of shape " + prediction.shape().text() + " cannot be guided.");
  const Tensor out = Tensor::empty(prediction.device(), prediction.shape(), DType::f32, op);
  const int64_t size = sampleSize(prediction), guided = prediction.size(1) > 0 ? size / prediction.size(1) * channels : 0;
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(prediction)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::guide(stream, prediction, static_cast<float>(scale), size, guided, out); });
      return out;
    }
  const cpu::GuideArgs args{.prediction = prediction.f32(), .out = out.f32(), .scale = static_cast<float>(scale),
                            .batch = prediction.size(0) / 2, .size = size, .guided = guided};
  cpuQueue(op, prediction).enqueue(op, [args](ThreadPool& pool) { cpu::diffusionKernels().guide(pool, args); });
  return out;
}

Tensor resizeChannels(const Tensor& x, int64_t channels) {
  const char* op = "resizeChannels";
  requireCompute(op, "x", x);
  requireChannels(op, "x", x);
  require(channels >= 0, op, "channels is " + std::to_string(channels) + "; expected not negative.");
  const Tensor out = Tensor::empty(x.device(), withChannels(x.shape(), channels), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::resizeChannels(stream, x, sampleSize(x), out, sampleSize(out)); });
      return out;
    }
  const cpu::ResizeChannelsArgs args{.x = x.f32(), .out = out.f32(), .batch = x.size(0), .fromSize = sampleSize(x), .toSize = sampleSize(out)};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::diffusionKernels().resizeChannels(pool, args); });
  return out;
}

}  // namespace repa::ops
