#include "cpu/velocity_cosine.h"

#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// torch.nn.functional.cosine_similarity's.
constexpr float kLeastNorm = 1e-8f;

void velocityCosine(ThreadPool& pool, const VelocityCosineArgs& args) {
  const float weight = args.pixelWeight * lossScaleOf(args.state);
  const int64_t channels = args.channels, pixels = args.pixels;
  pool.parallelFor(args.batch, [&](int64_t sample, int) {
    const float* prediction = args.prediction + sample * channels * pixels;
    const float* target = args.target + sample * channels * pixels;
    float* gradient = args.gradient == nullptr ? nullptr : args.gradient + sample * channels * pixels;
    double total = 0;
    forEachVector(pixels, [&](int64_t i, auto lanes, int) {
      Vec dot = {}, squaresP = {}, squaresT = {};
      for (int64_t channel = 0; channel < channels; ++channel) {
        const Vec p = load(prediction + channel * pixels + i, lanes), t = load(target + channel * pixels + i, lanes);
        dot += p * t;
        squaresP += p * p;
        squaresT += t * t;
      }
      const Vec norm = squareRoot(squaresP), n = norm < kLeastNorm ? splat(kLeastNorm) : norm;
      const Vec ofTarget = squareRoot(squaresT), m = ofTarget < kLeastNorm ? splat(kLeastNorm) : ofTarget;
      const Vec cosine = dot / (n * m);
      total += double{sumLanes(keep(1.0f - cosine, lanes))};
      if (gradient == nullptr) return;
      const Vec byTarget = weight / (n * m), byOwn = norm > 0.0f ? weight * cosine / (n * norm) : Vec{};
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t at = channel * pixels + i;
        store(gradient + at, byOwn * load(prediction + at, lanes) - byTarget * load(target + at, lanes), lanes);
      }
    });
    args.loss[sample] = static_cast<float>(total / static_cast<double>(pixels));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const VelocityCosineKernels& velocityCosineKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr VelocityCosineKernels table = {REPA_LEVEL::velocityCosine};
  return table;
}

}  // namespace repa::cpu
