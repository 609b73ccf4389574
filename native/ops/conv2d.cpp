#include "ops/conv2d.h"

#include "cpu/conv2d.h"
#include "cuda/conv2d.h"
#include "ops/require.h"
#include "ops/window.h"

namespace repa::ops {
namespace {

cpu::ConvActivation activationNamed(const char* op, const char* what, const std::string& name) {
  if (name == "none") return cpu::ConvActivation::none;
  if (name == "silu") return cpu::ConvActivation::silu;
  if (name == "relu") return cpu::ConvActivation::relu;
  fail(ErrorCode::invalidArgument, op, std::string(what) + " is \"" + name + "\"; expected none, silu or relu.");
}

}  // namespace

Tensor conv2d(const Tensor& x, const std::optional<Tensor>& coefficients, const std::string& inputActivation, int64_t upsample, const Tensor& weight,
              const std::optional<Tensor>& bias, const std::vector<double>& stride, const std::vector<double>& padding,
              const std::optional<Tensor>& residual, bool intoResidual, const std::string& activation, const std::string& dtype) {
  const char* op = "conv2d";
  requireCompute(op, "x", x);
  requireCompute(op, "weight", weight);
  if (x.dtype() != DType::f32) requireDType(op, "x", x, weight.dtype());
  requireRank(op, "x", x, 4, "[N, H, W, C]", x.dtype());
  requireRank(op, "weight", weight, 4, "[O, kernelHeight, kernelWidth, C]", weight.dtype());
  const int64_t batch = x.size(0), channels = x.size(3), outChannels = weight.size(0);
  if (weight.size(3) != channels || weight.elements() == 0)
    fail(ErrorCode::shape, op, "weight has shape " + weight.shape().text() + "; its last axis must be the " + std::to_string(channels) +
                                   " channels of x " + x.shape().text() + ", and no axis empty.");
  require(upsample == 1 || upsample == 2, op, "upsample is " + std::to_string(upsample) + "; expected 1 or 2.");
  const Window window = windowOf(op, x.size(1) * upsample, x.size(2) * upsample, {static_cast<double>(weight.size(1)), static_cast<double>(weight.size(2))}, stride, padding);
  const Shape shape{batch, window.outHeight, window.outWidth, outChannels};
  if (bias) requireShape(op, "bias", *bias, {outChannels});
  if (residual) requireShape(op, "residual", *residual, shape);
  if (coefficients) requireShape(op, "coefficients", *coefficients, {batch, 2, channels});
  const DType outDType = computeDType(op, x.device(), dtype);
  require(outDType == DType::f32 || outDType == weight.dtype(), op, "the result with a weight of " + std::string(dtypeName(weight.dtype())) + " is that or f32, not " + dtype + ".");
  const auto before = activationNamed(op, "inputActivation", inputActivation), after = activationNamed(op, "activation", activation);
  require(coefficients || before == cpu::ConvActivation::none, op, "inputActivation goes with coefficients, and there are none.");
  require(!residual || after != cpu::ConvActivation::silu, op, "a residual goes with the activations none and relu, not silu.");
  require(!intoResidual || (residual && outDType == DType::f32), op, "a result of " + dtype + " cannot take the memory of a residual" + (residual ? "." : " that is not there."));

  const Tensor out = intoResidual ? *residual : Tensor::empty(x.device(), shape, outDType, op);
  const auto floats = [](const std::optional<Tensor>& tensor) -> const float* { return tensor ? tensor->f32() : nullptr; };
  cpu::Conv2dArgs args{.x = x.f32(), .batch = batch, .height = x.size(1), .width = x.size(2), .channels = channels, .upsample = upsample,
                       .coefficients = floats(coefficients), .inputActivation = before, .weight = weight.f32(), .outChannels = outChannels,
                       .kernelHeight = weight.size(1), .kernelWidth = weight.size(2), .strideHeight = window.strideHeight, .strideWidth = window.strideWidth,
                       .padTop = window.padTop, .padLeft = window.padLeft, .outHeight = window.outHeight, .outWidth = window.outWidth,
                       .bias = floats(bias), .residual = floats(residual), .activation = after, .out = out.f32(), .scratch = nullptr};
  if (out.elements() == 0) return out;
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::conv2d(stream, args, x, weight, out); });
      return out;
    }
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor scratch = scratchFloats(queue, cpu::conv2dKernels().conv2dScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::conv2dKernels().conv2d(pool, args); });
  return out;
}

}  // namespace repa::ops
