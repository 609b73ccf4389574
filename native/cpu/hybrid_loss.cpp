#include "cpu/hybrid_loss.h"

#include "core/discretized_gaussian.h"
#include "cpu/simd.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr double kLn2 = 0.69314718055994530942;

/// What the gradient of one element is multiplied by: the losses' weights, the mean's divisor and the loss scale.
struct GradientScale {
  float mse, vb;
};

struct SampleLosses {
  double mse, vb;
};

struct Sample {
  const float *prediction, *v, *target, *x0;
  float *gradPrediction, *gradV;  // null: the losses only
  int64_t size;
};

/// exp(w) - 1 - w, which keeps its digits where w is small: below ½ by its Taylor series, whose first missing term is 6e-8 of it.
Vec expRemainder(Vec w) {
  Vec series = 1.98412698e-4f + 2.48015873e-5f * w;
  series = 1.38888889e-3f + series * w;
  series = 8.33333333e-3f + series * w;
  series = 4.16666667e-2f + series * w;
  series = 1.66666667e-1f + series * w;
  series = 0.5f + series * w;
  const Vec magnitude = w < 0.0f ? -w : w;
  return magnitude < 0.5f ? w * w * series : exp(w) - 1.0f - w;
}

/// A sum of Vecs in double.
class Sum {
 public:
  void add(Vec values) {
    float lanes[kLanes];
    store(lanes, values);
    for (int i = 0; i < kLanes; ++i) lanes_[i] += static_cast<double>(lanes[i]);
  }
  double total() const {
    double sum = 0;
    for (int i = 0; i < kLanes; ++i) sum += lanes_[i];
    return sum;
  }

 private:
  double lanes_[kLanes] = {};
};

/// t > 0: the divergence of two Gaussians.
SampleLosses divergence(const Sample& s, const HybridLossStep& step, bool throughMean, GradientScale scale) {
  const float range = static_cast<float>(step.logRange), meanWeight = static_cast<float>(step.meanWeight);
  Sum squares, divergences;
  forEachVector(s.size, [&](int64_t i, auto lanes, int) {
    const Vec e = load(s.prediction + i, lanes) - load(s.target + i, lanes);
    const Vec u = (0.5f * load(s.v + i, lanes) + 0.5f) * range;
    const Vec remainder = expRemainder(-u);
    const Vec lessOne = remainder - u;  // exp(-u) - 1
    const Vec meanTerm = meanWeight * e * e * (lessOne + 1.0f);
    squares.add(e * e);
    divergences.add(keep(remainder + meanTerm, lanes));
    if (s.gradPrediction == nullptr) return;
    Vec gradient = scale.mse * 2.0f * e;
    if (throughMean) gradient = gradient + scale.vb * meanWeight * e * (lessOne + 1.0f);
    store(s.gradPrediction + i, gradient, lanes);
    store(s.gradV + i, scale.vb * 0.25f * range * (-lessOne - meanTerm), lanes);
  });
  return {squares.total(), 0.5 * divergences.total()};
}

/// t = 0: the likelihood of the data.
SampleLosses likelihood(const Sample& s, const HybridLossStep& step, bool throughMean, GradientScale scale) {
  SampleLosses losses = {0, 0};
  for (int64_t i = 0; i < s.size; ++i) {
    const double e = static_cast<double>(s.prediction[i]) - static_cast<double>(s.target[i]);
    const double u = 0.5 * (static_cast<double>(s.v[i]) + 1.0) * step.logRange;
    const DiscretizedGaussian level = discretizedGaussian(static_cast<double>(s.x0[i]), step.offset * e, step.logVariance + u);
    losses.mse += e * e;
    losses.vb -= level.logLikelihood;
    if (s.gradPrediction == nullptr) continue;
    double gradient = static_cast<double>(scale.mse) * 2.0 * e;
    // The mean is x_0 - offset · e.
    if (throughMean) gradient += static_cast<double>(scale.vb) * level.byMean * step.offset;
    s.gradPrediction[i] = static_cast<float>(gradient);
    s.gradV[i] = static_cast<float>(static_cast<double>(scale.vb) * -0.5 * step.logRange * level.byLogVariance);
  }
  return losses;
}

void hybridLoss(ThreadPool& pool, const HybridLossArgs& args) {
  const double elements = static_cast<double>(args.size) * static_cast<double>(args.batch);
  const double lossScale = static_cast<double>(lossScaleOf(args.state));
  const GradientScale scale = {static_cast<float>(lossScale * args.mseWeight / elements),
                               static_cast<float>(lossScale * args.vbWeight / (elements * kLn2))};
  const int64_t samplesPerChunk = 1 + 16384 / (args.size + 1);
  pool.parallelFor((args.batch + samplesPerChunk - 1) / samplesPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * samplesPerChunk;
    const int64_t end = begin + samplesPerChunk < args.batch ? begin + samplesPerChunk : args.batch;
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = 2 * b * args.size, t = args.t[b];
      float* const gradient = args.gradPrediction == nullptr ? nullptr : args.gradPrediction + at;
      if (t < 0 || t >= args.steps) {
        args.mse[b] = args.vb[b] = __builtin_nanf("");
        if (gradient != nullptr)
          for (int64_t i = 0; i < 2 * args.size; ++i) gradient[i] = __builtin_nanf("");
        continue;
      }
      const Sample sample = {args.prediction + at, args.prediction + at + args.size, args.target + b * args.size, args.x0 + b * args.size,
                             gradient, gradient == nullptr ? nullptr : gradient + args.size, args.size};
      const SampleLosses losses = t == 0 ? likelihood(sample, args.table[0], args.throughMean, scale)
                                         : divergence(sample, args.table[t], args.throughMean, scale);
      args.mse[b] = static_cast<float>(losses.mse / static_cast<double>(args.size));
      args.vb[b] = static_cast<float>(losses.vb / (static_cast<double>(args.size) * kLn2));
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const HybridLossKernels& hybridLossKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr HybridLossKernels table = {hybridLoss};
  return table;
}

}  // namespace repa::cpu
