#include "ops/loss.h"

#include "cpu/loss.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 2> cosineAlignmentLoss(const Tensor& projection, const Tensor& target, double weight, bool wantGradient) {
  const char* op = "cosineAlignmentLoss";
  requireRank(op, "projection", projection, 3, "[B, T, D]");
  requireShape(op, "target", target, projection.shape());
  CpuDevice& queue = cpuQueue(op, projection);
  const int64_t batch = projection.size(0), tokens = projection.size(1);
  const Tensor loss = Tensor::empty(queue, {batch}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(queue, projection.shape(), DType::f32, op);
  cpu::CosineAlignmentArgs args{.projection = projection.f32(), .target = target.f32(), .loss = loss.f32(),
                                .gradProjection = wantGradient ? gradient.f32() : nullptr,
                                .weight = static_cast<float>(weight / (static_cast<double>(batch) * static_cast<double>(tokens))),
                                .batch = batch, .tokens = tokens, .width = projection.size(2), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::lossKernels().cosineAlignmentScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::lossKernels().cosineAlignment(pool, args); });
  return {loss, gradient};
}

std::array<Tensor, 2> velocityLoss(const Tensor& prediction, const Tensor& target, double weight, bool wantGradient) {
  const char* op = "velocityLoss";
  requireDType(op, "prediction", prediction, DType::f32);
  require(prediction.shape().rank() >= 1 && prediction.size(0) > 0, op, "prediction has shape " + prediction.shape().text() + "; expected [B, ...].");
  requireShape(op, "target", target, prediction.shape());
  CpuDevice& queue = cpuQueue(op, prediction);
  const Tensor loss = Tensor::empty(queue, {prediction.size(0)}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(queue, prediction.shape(), DType::f32, op);
  const cpu::VelocityLossArgs args{.prediction = prediction.f32(), .target = target.f32(), .loss = loss.f32(),
                                   .gradPrediction = wantGradient ? gradient.f32() : nullptr, .weight = static_cast<float>(weight),
                                   .batch = prediction.size(0), .size = prediction.elements() / prediction.size(0)};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::lossKernels().velocityLoss(pool, args); });
  return {loss, gradient};
}

}  // namespace repa::ops
