#include "ops/contrast.h"

#include "cpu/contrast.h"
#include "cuda/contrast.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 2> l2Normalize(const Tensor& x) {
  const char* op = "l2Normalize";
  requireCompute(op, "x", x);
  requireLastAxis(op, "x", x, "[..., D]", x.dtype());
  Shape rows;
  for (int axis = 0; axis + 1 < x.shape().rank(); ++axis) rows.append(x.size(axis));
  const Tensor unit = Tensor::empty(x.device(), x.shape(), DType::f32, op), norms = Tensor::empty(x.device(), rows, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::l2Normalize(stream, x, unit, norms); });
      return {unit, norms};
    }
  const cpu::L2NormalizeArgs args{.rows = rowsOf(x.shape()), .width = x.size(-1), .x = x.f32(), .unit = unit.f32(), .norms = norms.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::contrastKernels().l2Normalize(pool, args); });
  return {unit, norms};
}

Tensor l2NormalizeBackward(const Tensor& dUnit, const Tensor& unit, const Tensor& norms, const std::string& dtype) {
  const char* op = "l2NormalizeBackward";
  requireLastAxis(op, "unit", unit, "[..., D]");
  requireShape(op, "dUnit", dUnit, unit.shape());
  Shape rows;
  for (int axis = 0; axis + 1 < unit.shape().rank(); ++axis) rows.append(unit.size(axis));
  requireShape(op, "norms", norms, rows);
  const Tensor dX = Tensor::empty(unit.device(), unit.shape(), computeDType(op, unit.device(), dtype), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(unit)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::l2NormalizeBackward(stream, dUnit, unit, norms, dX); });
      return dX;
    }
  const cpu::L2NormalizeBackwardArgs args{.rows = rowsOf(unit.shape()), .width = unit.size(-1), .dUnit = dUnit.f32(), .unit = unit.f32(),
                                          .norms = norms.f32(), .dX = dX.f32()};
  cpuQueue(op, unit).enqueue(op, [args](ThreadPool& pool) { cpu::contrastKernels().l2NormalizeBackward(pool, args); });
  return dX;
}

std::array<Tensor, 2> crossEntropyLoss(const Tensor& logits, double temperature, double weight, const std::optional<Tensor>& state,
                                       bool wantGradient) {
  const char* op = "crossEntropyLoss";
  requireRank(op, "logits", logits, 2, "[N, N]");
  requireShape(op, "logits", logits, {logits.size(0), logits.size(0)});
  require(temperature > 0, op, "the temperature is " + std::to_string(temperature) + "; expected more than 0.");
  const StepState* const scaling = stateOf(op, state);
  Device& device = logits.device();
  const int64_t rows = logits.size(0);
  const Tensor loss = Tensor::empty(device, {rows}, DType::f32, op);
  Tensor dLogits;
  if (wantGradient) dLogits = Tensor::empty(device, logits.shape(), DType::f32, op);
  const float scale = static_cast<float>(1 / temperature);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(logits)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::crossEntropyLoss(stream, logits, scale, static_cast<float>(weight), scaling, loss, wantGradient ? &dLogits : nullptr);
      });
      return {loss, dLogits};
    }
  const cpu::CrossEntropyArgs args{.rows = rows, .logits = logits.f32(), .scale = scale, .rowWeight = static_cast<float>(weight), .state = scaling,
                                   .loss = loss.f32(), .dLogits = wantGradient ? dLogits.f32() : nullptr};
  cpuQueue(op, logits).enqueue(op, [args](ThreadPool& pool) { cpu::contrastKernels().crossEntropy(pool, args); });
  return {loss, dLogits};
}

Tensor squaredDistances(const Tensor& x) {
  const char* op = "squaredDistances";
  requireDType(op, "x", x, DType::f32);
  require(x.shape().rank() >= 1, op, "x has shape " + x.shape().text() + "; expected [B, ...].");
  const int64_t batch = x.size(0), size = batch > 0 ? x.elements() / batch : 0;
  const Tensor distances = Tensor::empty(x.device(), {batch, batch}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor partial = scratchFloats(x.device(), cuda::squaredDistancesScratchFloats(batch, size), op);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::squaredDistances(stream, x, distances, partial); });
      return distances;
    }
  const cpu::SquaredDistancesArgs args{.batch = batch, .size = size, .x = x.f32(), .distances = distances.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::contrastKernels().squaredDistances(pool, args); });
  return distances;
}

std::array<Tensor, 2> dispersiveLoss(const Tensor& distances, double scale, double weight, const std::optional<Tensor>& state,
                                     bool wantGradient) {
  const char* op = "dispersiveLoss";
  requireRank(op, "distances", distances, 2, "[B, B]");
  const int64_t batch = distances.size(0);
  requireShape(op, "distances", distances, {batch, batch});
  require(batch > 0, op, "distances has shape " + distances.shape().text() + "; expected those of one sample at least.");
  require(scale > 0, op, "the scale is " + std::to_string(scale) + "; expected more than 0.");
  const StepState* const scaling = stateOf(op, state);
  Device& device = distances.device();
  const Tensor loss = Tensor::empty(device, {1}, DType::f32, op);
  Tensor pull;
  if (wantGradient) pull = Tensor::empty(device, distances.shape(), DType::f32, op);
  const Tensor scratch = scratchFloats(device, 2 * batch, op);
  double* const rowSums = static_cast<double*>(scratch.data());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(distances)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::dispersiveLoss(stream, distances, static_cast<float>(scale), static_cast<float>(weight), scaling, loss, wantGradient ? &pull : nullptr,
                             rowSums);
      });
      return {loss, pull};
    }
  const cpu::DispersiveLossArgs args{.batch = batch, .distances = distances.f32(), .scale = static_cast<float>(scale),
                                     .weight = static_cast<float>(weight), .state = scaling, .loss = loss.f32(),
                                     .pull = wantGradient ? pull.f32() : nullptr, .scratch = rowSums};
  cpuQueue(op, distances).enqueue(op, [args](ThreadPool& pool) { cpu::contrastKernels().dispersiveLoss(pool, args); });
  return {loss, pull};
}

}  // namespace repa::ops
