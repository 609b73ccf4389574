#include "ops/smooth_l1.h"

#include "cpu/smooth_l1.h"
#include "cuda/smooth_l1.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 2> smoothL1Loss(const Tensor& prediction, const Tensor& target, double beta, double weight, const std::optional<Tensor>& state,
                                   bool wantGradient) {
  const char* op = "smoothL1Loss";
  requireCompute(op, "prediction", prediction);
  require(prediction.shape().rank() >= 1 && prediction.size(0) > 0, op,
          "prediction has shape " + prediction.shape().text() + "; expected [B, ...].");
  requireShape(op, "target", target, prediction.shape());
  require(beta > 0, op, "beta is " + std::to_string(beta) + "; expected more than 0.");
  const StepState* const scaling = stateOf(op, state);
  Device& device = prediction.device();
  const int64_t batch = prediction.size(0), size = prediction.elements() / batch;
  const Tensor loss = Tensor::empty(device, {batch}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(device, prediction.shape(), prediction.dtype(), op);
  const float elementWeight = static_cast<float>(weight / static_cast<double>(prediction.elements()));
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(prediction)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::smoothL1Loss(stream, prediction, target, static_cast<float>(beta), elementWeight, scaling, loss, wantGradient ? &gradient : nullptr);
      });
      return {loss, gradient};
    }
  const cpu::SmoothL1LossArgs args{.batch = batch, .size = size, .prediction = prediction.f32(), .target = target.f32(),
                                   .beta = static_cast<float>(beta), .elementWeight = elementWeight, .state = scaling, .loss = loss.f32(),
                                   .gradient = wantGradient ? gradient.f32() : nullptr};
  cpuQueue(op, prediction).enqueue(op, [args](ThreadPool& pool) { cpu::smoothL1Kernels().smoothL1Loss(pool, args); });
  return {loss, gradient};
}

}  // namespace repa::ops
