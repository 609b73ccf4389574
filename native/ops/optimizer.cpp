#include "ops/optimizer.h"

#include <memory>

#include "cpu/optimizer.h"
#include "cuda/optimizer.h"
#include "ops/arena_ranges.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

namespace {

using Ranges = std::shared_ptr<std::vector<ArenaRange>>;

/// Shared with the enqueued work.
Ranges rangesOf(const char* op, const std::string& name, const std::vector<double>& pairs, int64_t count) {
  return std::make_shared<std::vector<ArenaRange>>(arenaRanges(op, name, pairs, count));
}

/// For ranges that are more than fit into a kernel's parameters. Memory is stream-ordered: it may be let go of once the kernels are enqueued.
Tensor roomFor(Device& device, const std::vector<ArenaRange>& ranges, const char* op) {
  return Tensor::empty(device, {cuda::arenaRangesBytes(static_cast<int64_t>(ranges.size()))}, DType::u8, op);
}

double* sumsOf(const char* op, const Tensor& sums) {
  requireRank(op, "sums", sums, 1, "[processes]", DType::f64);
  return sums.f64();
}

/// The copy of the weights that products read; of weights in f32 there is none.
void requireCopy(const char* op, const std::optional<Tensor>& computeWeight, const Tensor& weight) {
  if (!computeWeight) return;
  requireCompute(op, "computeWeight", *computeWeight);
  require(computeWeight->dtype() != DType::f32, op,
          "computeWeight is f32, as the weights are: there is nothing to copy; expected bf16 or f16, or none.");
  requireShape(op, "computeWeight", *computeWeight, weight.shape(), computeWeight->dtype());
}

const Tensor* pointer(const std::optional<Tensor>& tensor) { return tensor ? &*tensor : nullptr; }

}  // namespace

void sumOfSquares(const Tensor& gradient, const std::vector<double>& frozen, const Tensor& sums, int64_t index) {
  const char* op = "sumOfSquares";
  requireRank(op, "gradient", gradient, 1, "[n]");
  double* const first = sumsOf(op, sums);
  require(index >= 0 && index < sums.elements(), op,
          "index is " + std::to_string(index) + "; expected 0 to " + std::to_string(sums.elements() - 1) + ".");
  const Ranges ranges = rangesOf(op, "frozen", frozen, gradient.elements());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(gradient)) {
      const Tensor room = roomFor(*cuda, *ranges, op);
      const Tensor scratch = Tensor::empty(*cuda, {cuda::sumOfSquaresScratchBytes(gradient.elements())}, DType::u8, op);
      return cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::sumOfSquares(stream, gradient, cuda::arenaRanges(stream, *ranges, room), first + index, scratch);
      });
    }
  CpuDevice& queue = cpuQueue(op, gradient);
  cpu::SumOfSquaresArgs squares{.count = gradient.elements(), .gradient = gradient.f32(), .frozen = ranges->data(),
                                .frozenCount = static_cast<int64_t>(ranges->size()), .sum = first + index, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::optimizerKernels().sumOfSquaresScratchFloats(squares, queue.threads()), op);
  squares.scratch = scratch.f32();
  queue.enqueue(op, [squares, ranges](ThreadPool& pool) { cpu::optimizerKernels().sumOfSquares(pool, squares); });
}

void clipGradientNorm(const Tensor& sums, const Tensor& state, double maxNorm, double gradientScale, bool holdsLate) {
  const char* op = "clipGradientNorm";
  const double* const first = sumsOf(op, sums);
  StepState* const into = stateOf(op, state);
  const auto norm = static_cast<float>(maxNorm), scale = static_cast<float>(gradientScale);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(sums))
      return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::clipGradientNorm(stream, sums, into, norm, scale, holdsLate); });
  const cpu::ClipFactorArgs args{.sums = first, .count = sums.elements(), .state = into, .maxNorm = norm, .gradientScale = scale,
                                .holdsLate = holdsLate};
  cpuQueue(op, sums).enqueue(op, [args](ThreadPool& pool) { cpu::optimizerKernels().clipFactor(pool, args); });
}

void adamW(const Tensor& weight, const Tensor& gradient, const Tensor& firstMoment, const Tensor& secondMoment,
           const std::optional<Tensor>& ema,
           const std::optional<Tensor>& computeWeight, const std::vector<double>& frozen, const std::vector<double>& undecayed,
           const Tensor& state, bool late, double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double emaDecay,
           const std::optional<Tensor>& learningRateFactor) {
  const char* op = "adamW";
  requireRank(op, "weight", weight, 1, "[n]");
  requireShape(op, "gradient", gradient, weight.shape());
  requireShape(op, "firstMoment", firstMoment, weight.shape());
  requireShape(op, "secondMoment", secondMoment, weight.shape());
  if (ema) requireShape(op, "ema", *ema, weight.shape());
  requireCopy(op, computeWeight, weight);
  if (learningRateFactor) requireShape(op, "learningRateFactor", *learningRateFactor, {1}, DType::f64);
  const double* const factor = learningRateFactor ? learningRateFactor->f64() : nullptr;
  const StepState* const step = stateOf(op, state);
  const Ranges ranges = rangesOf(op, "frozen", frozen, weight.elements());
  const Ranges plain = rangesOf(op, "undecayed", undecayed, weight.elements());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(weight)) {
      const Tensor room = roomFor(*cuda, *ranges, op), plainRoom = roomFor(*cuda, *plain, op);
      return cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::adamW(stream, cuda->info().multiprocessors, weight, gradient, firstMoment, secondMoment, pointer(ema), pointer(computeWeight),
                    cuda::arenaRanges(stream, *ranges, room), cuda::arenaRanges(stream, *plain, plainRoom), step,
                    {.learningRate = learningRate, .beta1 = beta1, .beta2 = beta2, .epsilon = epsilon, .weightDecay = weightDecay,
                     .emaDecay = emaDecay, .late = late, .learningRateFactor = factor});
      });
    }
  const cpu::AdamWArgs args{.count = weight.elements(), .weight = weight.f32(), .gradient = gradient.f32(),
                            .firstMoment = firstMoment.f32(),
                            .secondMoment = secondMoment.f32(), .ema = ema ? ema->f32() : nullptr, .frozen = ranges->data(),
                            .frozenCount = static_cast<int64_t>(ranges->size()), .undecayed = plain->data(),
                            .undecayedCount = static_cast<int64_t>(plain->size()), .learningRate = learningRate, .beta1 = beta1,
                            .beta2 = beta2, .epsilon = epsilon, .weightDecay = weightDecay, .emaDecay = emaDecay, .late = late, .learningRateFactor = factor, .state = step};
  cpuQueue(op, weight).enqueue(op, [args, ranges, plain](ThreadPool& pool) { cpu::optimizerKernels().adamW(pool, args); });
}

void followWeights(const Tensor& weight, const std::optional<Tensor>& ema, const std::optional<Tensor>& computeWeight, const Tensor& state,
                   double emaDecay) {
  const char* op = "followWeights";
  requireRank(op, "weight", weight, 1, "[n]");
  if (ema) requireShape(op, "ema", *ema, weight.shape());
  requireCopy(op, computeWeight, weight);
  const StepState* const step = stateOf(op, state);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(weight))
      return cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::followWeights(stream, cuda->info().multiprocessors, weight, pointer(ema), pointer(computeWeight), step, emaDecay);
      });
  if (!ema) return;
  const cpu::FollowWeightsArgs args{.count = weight.elements(), .weight = weight.f32(), .ema = ema->f32(), .emaDecay = emaDecay, .state = step};
  cpuQueue(op, weight).enqueue(op, [args](ThreadPool& pool) { cpu::optimizerKernels().followWeights(pool, args); });
}

}  // namespace repa::ops
