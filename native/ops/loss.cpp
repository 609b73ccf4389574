#include "ops/loss.h"

#include "cpu/loss.h"
#include "cuda/loss.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 2> cosineAlignmentLoss(const Tensor& projection, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                          bool wantGradient) {
  const char* op = "cosineAlignmentLoss";
  requireCompute(op, "projection", projection);
  requireRank(op, "projection", projection, 3, "[B, T, D]", projection.dtype());
  requireShape(op, "target", target, projection.shape(), target.dtype() == projection.dtype() ? projection.dtype() : DType::f32);
  const StepState* const scaling = stateOf(op, state);
  Device& device = projection.device();
  const int64_t batch = projection.size(0), tokens = projection.size(1);
  const Tensor loss = Tensor::empty(device, {batch}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(device, projection.shape(), projection.dtype(), op);
  const float tokenWeight = static_cast<float>(weight / (static_cast<double>(batch) * static_cast<double>(tokens)));
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(projection)) {
      const Tensor tokenLosses = Tensor::empty(device, {batch * tokens}, DType::f32, op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::cosineAlignmentLoss(stream, projection, target, tokenWeight, scaling, loss,
                                  wantGradient ? &gradient : nullptr, tokenLosses);
      });
      return {loss, gradient};
    }
  CpuDevice& queue = cpuQueue(op, projection);
  cpu::CosineAlignmentArgs args{.projection = projection.f32(), .target = target.f32(), .loss = loss.f32(),
                                .gradProjection = wantGradient ? gradient.f32() : nullptr, .tokenWeight = tokenWeight, .state = scaling,
                                .batch = batch, .tokens = tokens, .width = projection.size(2), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::lossKernels().cosineAlignmentScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::lossKernels().cosineAlignment(pool, args); });
  return {loss, gradient};
}

std::array<Tensor, 2> velocityLoss(const Tensor& prediction, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                   bool wantGradient) {
  const char* op = "velocityLoss";
  requireCompute(op, "prediction", prediction);
  require(prediction.shape().rank() >= 1 && prediction.size(0) > 0, op,
          "prediction has shape " + prediction.shape().text() + "; expected [B, ...].");
  requireShape(op, "target", target, prediction.shape());
  const StepState* const scaling = stateOf(op, state);
  Device& device = prediction.device();
  const Tensor loss = Tensor::empty(device, {prediction.size(0)}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(device, prediction.shape(), prediction.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(prediction)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::velocityLoss(stream, prediction, target, static_cast<float>(weight), scaling, loss,
                           wantGradient ? &gradient : nullptr);
      });
      return {loss, gradient};
    }
  const cpu::VelocityLossArgs args{.prediction = prediction.f32(), .target = target.f32(), .loss = loss.f32(),
                                   .gradPrediction = wantGradient ? gradient.f32() : nullptr, .batchWeight = static_cast<float>(weight),
                                   .state = scaling, .batch = prediction.size(0), .size = prediction.elements() / prediction.size(0)};
  cpuQueue(op, prediction).enqueue(op, [args](ThreadPool& pool) { cpu::lossKernels().velocityLoss(pool, args); });
  return {loss, gradient};
}

}  // namespace repa::ops
