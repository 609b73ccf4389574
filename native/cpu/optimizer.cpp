#include "cpu/optimizer.h"

#include <cmath>

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Elements per chunk: with five arrays, 1.25 MiB.
constexpr int64_t kArenaChunk = 65536;

Range arenaChunk(int64_t count, int64_t chunk) {
  const int64_t begin = chunk * kArenaChunk;
  return {begin, count - begin < kArenaChunk ? count : begin + kArenaChunk};
}

/// Splits `range` where the listed ranges begin and end: outside(part) and inside(part), in ascending order.
template <class Outside, class Inside>
void splitAt(const ArenaRange* listed, int64_t count, Range range, Outside outside, Inside inside) {
  int64_t begin = range.begin;
  for (int64_t i = 0; i < count && begin < range.end; ++i) {
    if (listed[i].end <= begin) continue;
    const int64_t from = listed[i].begin < range.end ? listed[i].begin : range.end;
    const int64_t to = listed[i].end < range.end ? listed[i].end : range.end;
    if (begin < from) outside(Range{begin, from});
    begin = begin < from ? from : begin;
    if (begin < to) inside(Range{begin, to});
    begin = begin < to ? to : begin;
  }
  if (begin < range.end) outside(Range{begin, range.end});
}

/// In double: squares of floats neither overflow nor round, and the order is the same at every level.
double sumOfSquaresInDouble(const float* x, int64_t count) {
  constexpr int kSums = 32;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const double value = static_cast<double>(x[i + j]);
      sums[j] += value * value;
    }
  }
  for (int j = 0; i + j < count; ++j) {
    const double value = static_cast<double>(x[i + j]);
    sums[j] += value * value;
  }
  for (int half = kSums / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  return sums[0];
}

/// Scratch holds one double per chunk.
void sumOfSquares(ThreadPool& pool, const SumOfSquaresArgs& args) {
  double* partials = reinterpret_cast<double*>(args.scratch);
  const int64_t chunks = divideUp(args.count, kArenaChunk);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    double total = 0.0;
    splitAt(
        args.frozen, args.frozenCount, arenaChunk(args.count, chunk),
        [&](Range part) { total += sumOfSquaresInDouble(args.gradient + part.begin, part.end - part.begin); },
        [](Range) {});
    partials[chunk] = total;
  });
  double total = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk];
  *args.sum = total;
}

int64_t sumOfSquaresScratchFloats(const SumOfSquaresArgs& args, int) { return 2 * divideUp(args.count, kArenaChunk); }

void clipFactor(ThreadPool&, const ClipFactorArgs& args) {
  double sum = 0.0;
  for (int64_t i = 0; i < args.count; ++i) sum += args.sums[i];
  finishGradient(*args.state, sum, args.maxNorm, args.gradientScale, args.holdsLate);
}

/// The scalars of one step, computed in double and then rounded, where torch does so; of the decay and the EMA see below.
struct AdamWScalars {
  float clip, decay, beta1, oneMinusBeta1, beta2, oneMinusBeta2, rootBiasCorrection2, epsilon, stepSize, emaDecay,
      oneMinusEmaDecay;

  explicit AdamWScalars(const AdamWArgs& args) {
    const double steps = static_cast<double>(args.state->step - (args.late ? args.state->held : 0));
    const double learningRate = args.learningRateFactor ? args.learningRate * *args.learningRateFactor : args.learningRate;
    clip = args.state->clip;
    // Subtracted: torch's factor of 1 - this is a multiple of 6e-8 in f32.
    decay = static_cast<float>(learningRate * args.weightDecay);
    beta1 = static_cast<float>(args.beta1);
    oneMinusBeta1 = static_cast<float>(1.0 - args.beta1);
    beta2 = static_cast<float>(args.beta2);
    oneMinusBeta2 = static_cast<float>(1.0 - args.beta2);
    rootBiasCorrection2 = static_cast<float>(std::sqrt(1.0 - std::pow(args.beta2, steps)));
    epsilon = static_cast<float>(args.epsilon);
    stepSize = static_cast<float>(learningRate / (1.0 - std::pow(args.beta1, steps)));
    emaDecay = static_cast<float>(args.emaDecay);
    // Of the rounded decay, exactly: f32's 0.9999 and 0.0001 lack 1.7e-8 of 1, by which an average over 10,000 steps shrinks 10,000 times.
    oneMinusEmaDecay = 1.0F - emaDecay;
  }
};

template <bool kEma>
void updateTrainable(const AdamWArgs& args, const AdamWScalars& s, float decay, Range part) {
  forEachVector(part.end - part.begin, [&](int64_t offset, auto lanes, int) {
    const int64_t i = part.begin + offset;
    const Vec g = s.clip * load(args.gradient + i, lanes);
    const Vec m = s.beta1 * load(args.firstMoment + i, lanes) + s.oneMinusBeta1 * g;
    const Vec v = s.beta2 * load(args.secondMoment + i, lanes) + s.oneMinusBeta2 * g * g;
    const Vec denominator = squareRoot(v) / s.rootBiasCorrection2 + s.epsilon;
    const Vec w = load(args.weight + i, lanes);
    const Vec p = w - (s.stepSize * m / denominator + decay * w);
    store(args.firstMoment + i, m, lanes);
    store(args.secondMoment + i, v, lanes);
    store(args.weight + i, p, lanes);
    if constexpr (kEma) store(args.ema + i, s.emaDecay * load(args.ema + i, lanes) + s.oneMinusEmaDecay * p, lanes);
  });
}

/// The EMA of weights that are as they are.
void averageWeights(float* ema, const float* weight, float decay, float oneMinusDecay, Range part) {
  forEachVector(part.end - part.begin, [&](int64_t offset, auto lanes, int) {
    const int64_t i = part.begin + offset;
    store(ema + i, decay * load(ema + i, lanes) + oneMinusDecay * load(weight + i, lanes), lanes);
  });
}

void adamW(ThreadPool& pool, const AdamWArgs& args) {
  if (!args.state->finite) return;
  const AdamWScalars scalars(args);
  pool.parallelFor(divideUp(args.count, kArenaChunk), [&](int64_t chunk, int) {
    const auto update = [&](float decay, Range part) {
      if (args.ema) {
        updateTrainable<true>(args, scalars, decay, part);
      } else {
        updateTrainable<false>(args, scalars, decay, part);
      }
    };
    splitAt(
        args.frozen, args.frozenCount, arenaChunk(args.count, chunk),
        [&](Range trainable) {
          splitAt(
              args.undecayed, args.undecayedCount, trainable, [&](Range part) { update(scalars.decay, part); },
              [&](Range part) { update(0.0f, part); });
        },
        [&](Range part) {
          if (args.ema) averageWeights(args.ema, args.weight, scalars.emaDecay, scalars.oneMinusEmaDecay, part);
        });
  });
}

void followWeights(ThreadPool& pool, const FollowWeightsArgs& args) {
  if (!args.state->finite) return;
  const auto decay = static_cast<float>(args.emaDecay), oneMinusDecay = 1.0F - decay;
  pool.parallelFor(divideUp(args.count, kArenaChunk), [&](int64_t chunk, int) {
    averageWeights(args.ema, args.weight, decay, oneMinusDecay, arenaChunk(args.count, chunk));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const OptimizerKernels& optimizerKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr OptimizerKernels table = {level::sumOfSquares, level::sumOfSquaresScratchFloats, level::clipFactor,
                                             level::adamW, level::followWeights};
  return table;
}

}  // namespace repa::cpu
