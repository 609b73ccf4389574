#include "ops/distillation.h"

#include "cpu/distillation.h"
#include "cuda/distillation.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

Tensor entropy(const Tensor& p) {
  const char* op = "entropy";
  requireLastAxis(op, "p", p, "[..., K]");
  Shape rows;
  for (int axis = 0; axis + 1 < p.shape().rank(); ++axis) rows.append(p.size(axis));
  const Tensor out = Tensor::empty(p.device(), rows, DType::f32, op);
  const cpu::EntropyArgs args{.rows = out.elements(), .columns = p.size(-1), .p = p.f32(), .entropy = out.f32()};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(p)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::entropy(stream, args); });
      return out;
    }
  cpuQueue(op, p).enqueue(op, [args](ThreadPool& pool) { cpu::distillationKernels().entropy(pool, args); });
  return out;
}

std::array<Tensor, 2> distillationLoss(const Tensor& student, const Tensor& targets, int64_t firstView, double temperature, double weight,
                                       const std::optional<Tensor>& state, bool wantGradient) {
  const char* op = "distillationLoss";
  requireRank(op, "student", student, 3, "[V, B, K]");
  requireRank(op, "targets", targets, 3, "[G, B, K]");
  requireShape(op, "targets", targets, {targets.size(0), student.size(1), student.size(2)});
  require(firstView >= 0, op, "firstView is " + std::to_string(firstView) + "; expected 0 or more.");
  require(temperature > 0, op, "the temperature is " + std::to_string(temperature) + "; expected more than 0.");
  const StepState* const scaling = stateOf(op, state);
  Device& device = student.device();
  const Tensor loss = Tensor::empty(device, {student.size(0), student.size(1)}, DType::f32, op);
  Tensor dStudent;
  if (wantGradient) dStudent = Tensor::empty(device, student.shape(), DType::f32, op);
  if (student.elements() == 0) return {loss, dStudent};
  const cpu::DistillationLossArgs args{.views = student.size(0), .teacherViews = targets.size(0), .batch = student.size(1),
                                       .columns = student.size(2), .firstView = firstView, .student = student.f32(), .targets = targets.f32(),
                                       .scale = static_cast<float>(1 / temperature), .rowWeight = static_cast<float>(weight), .state = scaling, .loss = loss.f32(),
                                       .dStudent = wantGradient ? dStudent.f32() : nullptr};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(student)) {
      requireIndexable(op, "a row", args.columns);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::distillationLoss(stream, args); });
      return {loss, dStudent};
    }
  cpuQueue(op, student).enqueue(op, [args](ThreadPool& pool) { cpu::distillationKernels().distillationLoss(pool, args); });
  return {loss, dStudent};
}

}  // namespace repa::ops
