#include "ops/hybrid_loss.h"

#include "cpu/hybrid_loss.h"
#include "cuda/hybrid_loss.h"
#include "ops/channels.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 3> hybridLoss(const Tensor& prediction, const Tensor& target, const Tensor& x0, const Tensor& t, const Tensor& table,
                                 double mseWeight, double vbWeight, bool throughMean, const std::optional<Tensor>& state, bool wantGradient) {
  const char* op = "hybridLoss";
  requireCompute(op, "prediction", prediction);
  requireDType(op, "target", target, DType::f32);
  require(target.shape().rank() >= 2 && target.elements() > 0, op, "target has shape " + target.shape().text() + "; expected [B, C, ...].");
  requireShape(op, "prediction", prediction, withChannels(target.shape(), 2 * target.size(1)), prediction.dtype());
  requireShape(op, "x0", x0, target.shape());
  requireShape(op, "t", t, {target.size(0)}, DType::i32);
  requireRank(op, "table", table, 2, "[steps, 4]", DType::f64);
  requireShape(op, "table", table, {table.size(0), 4}, DType::f64);
  const StepState* const scaling = stateOf(op, state);
  Device& device = prediction.device();
  const Tensor mse = Tensor::empty(device, {target.size(0)}, DType::f32, op);
  const Tensor vb = Tensor::empty(device, {target.size(0)}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) gradient = Tensor::empty(device, prediction.shape(), prediction.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(prediction)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::hybridLoss(stream, prediction, target, x0, t, table, mseWeight, vbWeight, throughMean, scaling, mse, vb,
                         wantGradient ? &gradient : nullptr);
      });
      return {mse, vb, gradient};
    }
  const cpu::HybridLossArgs args{.prediction = prediction.f32(), .target = target.f32(), .x0 = x0.f32(), .t = t.i32(),
                                 .table = static_cast<const cpu::HybridLossStep*>(table.data()), .mse = mse.f32(), .vb = vb.f32(),
                                 .gradPrediction = wantGradient ? gradient.f32() : nullptr, .mseWeight = mseWeight, .vbWeight = vbWeight,
                                 .throughMean = throughMean, .state = scaling,
                                 .batch = target.size(0), .size = target.elements() / target.size(0), .steps = table.size(0)};
  cpuQueue(op, prediction).enqueue(op, [args](ThreadPool& pool) { cpu::hybridLossKernels().hybridLoss(pool, args); });
  return {mse, vb, gradient};
}

}  // namespace repa::ops
