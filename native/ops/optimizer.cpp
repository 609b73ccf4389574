#include "ops/optimizer.h"

#include <memory>

#include "cpu/optimizer.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

using Ranges = std::shared_ptr<std::vector<cpu::ArenaRange>>;

/// Pairs of begin and end, ascending; shared with the enqueued work.
Ranges rangesOf(const char* op, const std::vector<double>& frozen, int64_t count) {
  auto ranges = std::make_shared<std::vector<cpu::ArenaRange>>();
  require(frozen.size() % 2 == 0, op, "frozen must list pairs of begin and end.");
  int64_t previous = 0;
  for (size_t i = 0; i < frozen.size(); i += 2) {
    const cpu::ArenaRange range{static_cast<int64_t>(frozen[i]), static_cast<int64_t>(frozen[i + 1])};
    require(range.begin >= previous && range.end >= range.begin && range.end <= count, op, "the frozen ranges must ascend and lie inside the arena.");
    previous = range.end;
    ranges->push_back(range);
  }
  return ranges;
}

StepState* stateOf(const char* op, const Tensor& state) {
  requireShape(op, "state", state, {static_cast<int64_t>(sizeof(StepState))}, DType::u8);
  return static_cast<StepState*>(state.data());
}

}  // namespace

void clipGradientNorm(const Tensor& gradient, const std::vector<double>& frozen, const Tensor& state, double maxNorm, double gradientScale) {
  const char* op = "clipGradientNorm";
  requireRank(op, "gradient", gradient, 1, "[n]");
  const Ranges ranges = rangesOf(op, frozen, gradient.elements());
  CpuDevice& queue = cpuQueue(op, gradient);
  cpu::SumOfSquaresArgs squares{.count = gradient.elements(), .gradient = gradient.f32(), .frozen = ranges->data(),
                                .frozenCount = static_cast<int64_t>(ranges->size()), .state = stateOf(op, state), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::optimizerKernels().sumOfSquaresScratchFloats(squares, queue.threads()), op);
  squares.scratch = scratch.f32();
  const cpu::ClipFactorArgs clip{.state = squares.state, .maxNorm = static_cast<float>(maxNorm), .gradientScale = static_cast<float>(gradientScale)};
  queue.enqueue(op, [squares, clip, ranges](ThreadPool& pool) {
    cpu::optimizerKernels().sumOfSquares(pool, squares);
    cpu::optimizerKernels().clipFactor(pool, clip);
  });
}

void adamW(const Tensor& weight, const Tensor& gradient, const Tensor& firstMoment, const Tensor& secondMoment, const std::optional<Tensor>& ema,
           const std::optional<Tensor>& computeWeight, const std::vector<double>& frozen, const Tensor& state, double learningRate, double beta1, double beta2, double epsilon,
           double weightDecay, double emaDecay) {
  const char* op = "adamW";
  requireRank(op, "weight", weight, 1, "[n]");
  requireShape(op, "gradient", gradient, weight.shape());
  requireShape(op, "firstMoment", firstMoment, weight.shape());
  requireShape(op, "secondMoment", secondMoment, weight.shape());
  if (ema) requireShape(op, "ema", *ema, weight.shape());
  if (computeWeight) {
    requireCompute(op, "computeWeight", *computeWeight);
    requireShape(op, "computeWeight", *computeWeight, weight.shape(), computeWeight->dtype());
  }
  const Ranges ranges = rangesOf(op, frozen, weight.elements());
  const cpu::AdamWArgs args{.count = weight.elements(), .weight = weight.f32(), .gradient = gradient.f32(), .firstMoment = firstMoment.f32(),
                            .secondMoment = secondMoment.f32(), .ema = ema ? ema->f32() : nullptr, .frozen = ranges->data(),
                            .frozenCount = static_cast<int64_t>(ranges->size()), .learningRate = learningRate, .beta1 = beta1, .beta2 = beta2,
                            .epsilon = epsilon, .weightDecay = weightDecay, .emaDecay = emaDecay, .state = stateOf(op, state)};
  cpuQueue(op, weight).enqueue(op, [args, ranges](ThreadPool& pool) { cpu::optimizerKernels().adamW(pool, args); });
}

}  // namespace repa::ops
