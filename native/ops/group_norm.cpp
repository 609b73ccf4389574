#include "ops/group_norm.h"

#include "cpu/group_norm.h"
#include "cuda/group_norm.h"
#include "ops/require.h"

namespace repa::ops {
namespace {

/// x is [N, ..., C], no axis empty; the pixels of a sample.
int64_t pixelsOf(const char* op, const Tensor& x) {
  requireCompute(op, "x", x);
  if (x.shape().rank() < 2 || x.elements() == 0)
    fail(ErrorCode::shape, op, "x has shape " + x.shape().text() + "; expected [N, ..., C], no axis empty.");
  return x.elements() / x.size(0) / x.size(-1);
}

}  // namespace

Tensor groupNormCoefficients(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups, double epsilon) {
  const char* op = "groupNormCoefficients";
  const int64_t pixels = pixelsOf(op, x), batch = x.size(0), channels = x.size(-1);
  require(groups >= 1 && channels % groups == 0, op, "there are " + std::to_string(groups) + " groups; expected a divisor of the " + std::to_string(channels) + " channels.");
  require(epsilon >= 0, op, "epsilon is negative.");
  requireShape(op, "weight", weight, {channels});
  requireShape(op, "bias", bias, {channels});
  const Tensor out = Tensor::empty(x.device(), {batch, 2, channels}, DType::f32, op);
  cpu::GroupNormCoefficientsArgs args{.x = x.f32(), .batch = batch, .pixels = pixels, .channels = channels, .groups = groups, .weight = weight.f32(),
                                      .bias = bias.f32(), .epsilon = epsilon, .coefficients = out.f32(), .scratch = nullptr};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = Tensor::empty(*cuda, {cuda::groupNormScratchFloats(args)}, DType::f32, op);
      args.scratch = scratch.f32();
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::groupNormCoefficients(stream, args, x); });
      return out;
    }
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor scratch = scratchFloats(queue, cpu::groupNormKernels().scratchFloats(args), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::groupNormKernels().coefficients(pool, args); });
  return out;
}

Tensor groupNormApply(const Tensor& x, const Tensor& coefficients, const std::string& activation, const std::string& dtype) {
  const char* op = "groupNormApply";
  const int64_t pixels = pixelsOf(op, x), batch = x.size(0), channels = x.size(-1);
  requireShape(op, "coefficients", coefficients, {batch, 2, channels});
  require(activation == "none" || activation == "silu", op, "activation is \"" + activation + "\"; expected none or silu.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), computeDType(op, x.device(), dtype), op);
  const bool silu = activation == "silu";
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const auto after = silu ? cpu::ConvActivation::silu : cpu::ConvActivation::none;
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::scaleShift(stream, x, coefficients.f32(), after, out); });
      return out;
    }
  const cpu::GroupNormApplyArgs args{.x = x.f32(), .coefficients = coefficients.f32(), .batch = batch, .pixels = pixels, .channels = channels,
                                     .silu = silu, .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::groupNormKernels().apply(pool, args); });
  return out;
}

}  // namespace repa::ops
