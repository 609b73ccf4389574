#include "ops/velocity_cosine.h"

#include "cpu/velocity_cosine.h"
#include "cuda/velocity_cosine.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 2> velocityCosineLoss(const Tensor& prediction, const Tensor& target, double weight, const std::optional<Tensor>& state,
                                         bool wantGradient) {
  const char* op = "velocityCosineLoss";
  requireCompute(op, "prediction", prediction);
  require(prediction.shape().rank() >= 2 && prediction.elements() > 0, op,
          "prediction has shape " + prediction.shape().text() + "; expected [B, C, ...], and some elements.");
  requireShape(op, "target", target, prediction.shape());
  const StepState* const scaling = stateOf(op, state);
  Device& device = prediction.device();
  const int64_t batch = prediction.size(0), channels = prediction.size(1), pixels = prediction.elements() / (batch * channels);
  const Tensor loss = Tensor::empty(device, {batch}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(device, prediction.shape(), prediction.dtype(), op);
  const float pixelWeight = static_cast<float>(weight / static_cast<double>(batch * pixels));
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(prediction)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::velocityCosineLoss(stream, prediction, target, pixelWeight, scaling, loss, wantGradient ? &gradient : nullptr);
      });
      return {loss, gradient};
    }
  const cpu::VelocityCosineArgs args{.batch = batch, .channels = channels, .pixels = pixels, .prediction = prediction.f32(),
                                     .target = target.f32(), .pixelWeight = pixelWeight, .state = scaling, .loss = loss.f32(),
                                     .gradient = wantGradient ? gradient.f32() : nullptr};
  cpuQueue(op, prediction).enqueue(op, [args](ThreadPool& pool) { cpu::velocityCosineKernels().velocityCosine(pool, args); });
  return {loss, gradient};
}

}  // namespace repa::ops
