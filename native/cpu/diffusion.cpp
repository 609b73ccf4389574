#include "cpu/diffusion.h"

#include <cmath>

#include "cpu/chunks.h"
#include "cpu/simd.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// body(sample, begin, end) over [0, size) of every sample, in pieces that no sample's end interrupts.
template <class Body>
void forSamplePieces(ThreadPool& pool, int64_t batch, int64_t size, Body body) {
  const int64_t piecesPerSample = floatChunks(size);
  pool.parallelFor(batch * piecesPerSample, [&](int64_t piece, int) {
    const Range range = floatChunk(size, piece % piecesPerSample);
    body(piece / piecesPerSample, range.begin, range.end);
  });
}

void combineSamples(ThreadPool& pool, const CombineSamplesArgs& args) {
  forSamplePieces(pool, args.batch, args.size, [&](int64_t sample, int64_t begin, int64_t end) {
    const int64_t row = args.rows[sample], at = sample * args.size + begin;
    const bool isInside = row >= 0 && row < args.tableRows;
    const float a = isInside ? static_cast<float>(args.coefficients[2 * row]) : __builtin_nanf("");
    const float b = isInside ? static_cast<float>(args.coefficients[2 * row + 1]) : __builtin_nanf("");
    forEachVector(end - begin, [&](int64_t i, auto lanes, int) {
      Vec sum = a * load(args.x + at + i, lanes);
      if (args.y != nullptr) sum = sum + b * load(args.y + at + i, lanes);
      store(args.out + at + i, sum, lanes);
    });
  });
}

void denoisingStep(ThreadPool& pool, const DenoisingStepArgs& args) {
  const DenoisingStepCoefficients& k = args.coefficients;
  const double range = k.maxLogVariance - k.minLogVariance;
  // Of all elements where the model says nothing of the variance.
  const double deviation = std::exp(0.5 * k.minLogVariance);
  forSamplePieces(pool, args.batch, args.size, [&](int64_t sample, int64_t begin, int64_t end) {
    const float* prediction = args.prediction + sample * (args.hasV ? 2 : 1) * args.size;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = sample * args.size + i;
      double x0 = k.x0FromX * args.x[at] + k.x0FromPrediction * static_cast<double>(prediction[i]);
      if (args.clip) x0 = x0 < -1.0 ? -1.0 : x0 > 1.0 ? 1.0 : x0;
      double next = k.meanFromX0 * x0 + k.meanFromX * args.x[at];
      if (args.noise != nullptr) {
        const double f = args.hasV ? 0.5 * (static_cast<double>(prediction[args.size + i]) + 1.0) : 0.0;
        const double sigma = range == 0.0 ? deviation : std::exp(0.5 * (k.minLogVariance + f * range));
        next += sigma * static_cast<double>(args.noise[at]);
      }
      args.out[at] = next;
    }
  });
}

void guide(ThreadPool& pool, const GuideArgs& args) {
  forSamplePieces(pool, args.batch, args.size, [&](int64_t sample, int64_t begin, int64_t end) {
    const int64_t c = sample * args.size, u = (args.batch + sample) * args.size;
    const int64_t guided = args.guided < begin ? begin : args.guided < end ? args.guided : end;
    forEachVector(guided - begin, [&](int64_t i, auto lanes, int) {
      const int64_t at = begin + i;
      const Vec unconditional = load(args.prediction + u + at, lanes);
      const Vec value = unconditional + args.scale * (load(args.prediction + c + at, lanes) - unconditional);
      store(args.out + c + at, value, lanes);
      store(args.out + u + at, value, lanes);
    });
    const size_t rest = sizeof(float) * static_cast<size_t>(end - guided);
    std::memcpy(args.out + c + guided, args.prediction + c + guided, rest);
    std::memcpy(args.out + u + guided, args.prediction + u + guided, rest);
  });
}

void resizeChannels(ThreadPool& pool, const ResizeChannelsArgs& args) {
  forSamplePieces(pool, args.batch, args.toSize, [&](int64_t sample, int64_t begin, int64_t end) {
    float* const out = args.out + sample * args.toSize;
    const int64_t there = args.fromSize < begin ? begin : args.fromSize < end ? args.fromSize : end;
    std::memcpy(out + begin, args.x + sample * args.fromSize + begin, sizeof(float) * static_cast<size_t>(there - begin));
    std::memset(out + there, 0, sizeof(float) * static_cast<size_t>(end - there));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const DiffusionKernels& diffusionKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr DiffusionKernels table = {combineSamples, denoisingStep, guide, resizeChannels};
  return table;
}

}  // namespace repa::cpu
