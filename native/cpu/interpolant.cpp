#include "cpu/interpolant.h"

#include <cmath>

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// The path's coefficients and their derivatives by t.
struct Coefficients {
  float alpha, sigma, alphaSlope, sigmaSlope;
};

Coefficients coefficientsAt(InterpolantPath path, float t) {
  if (path == InterpolantPath::linear) return {1.0f - t, t, -1.0f, 1.0f};
  const double halfPi = 1.5707963267948966;
  const double cosine = std::cos(halfPi * t), sine = std::sin(halfPi * t);
  return {static_cast<float>(cosine), static_cast<float>(sine), static_cast<float>(-halfPi * sine),
          static_cast<float>(halfPi * cosine)};
}

// A sample's numbers may be many or few: pieces of at most kPiece numbers of one sample, several pieces to a chunk when
// samples are small.
constexpr int64_t kPiece = 1 << 14;

// body(sample, begin, end) over [0, size) of every sample, in parallel.
template <class Body>
void forSamplePieces(ThreadPool& pool, int64_t batch, int64_t size, Body body) {
  const int64_t piecesPerSample = (size + kPiece - 1) / kPiece;
  const int64_t pieces = batch * piecesPerSample;
  const int64_t piecesPerChunk = 1 + kPiece / (size + 1);
  pool.parallelFor((pieces + piecesPerChunk - 1) / piecesPerChunk, [&](int64_t chunk, int) {
    const int64_t first = chunk * piecesPerChunk;
    const int64_t last = first + piecesPerChunk < pieces ? first + piecesPerChunk : pieces;
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t begin = piece % piecesPerSample * kPiece;
      body(piece / piecesPerSample, begin, begin + kPiece < size ? begin + kPiece : size);
    }
  });
}

void interpolant(ThreadPool& pool, const InterpolantArgs& args) {
  forSamplePieces(pool, args.batch, args.size, [&](int64_t sample, int64_t begin, int64_t end) {
    const Coefficients k = coefficientsAt(args.path, args.t[sample]);
    const int64_t at = sample * args.size;
    int64_t i = at + begin;
    for (; i + kLanes <= at + end; i += kLanes) {
      const Vec x = load(args.x + i), noise = load(args.noise + i);
      store(args.interpolated + i, k.alpha * x + k.sigma * noise);
      store(args.velocity + i, k.alphaSlope * x + k.sigmaSlope * noise);
    }
    for (; i < at + end; ++i) {
      const float x = args.x[i], noise = args.noise[i];
      args.interpolated[i] = k.alpha * x + k.sigma * noise;
      args.velocity[i] = k.alphaSlope * x + k.sigmaSlope * noise;
    }
  });
}

void samplePosterior(ThreadPool& pool, const SamplePosteriorArgs& args) {
  forSamplePieces(pool, args.batch, args.size, [&](int64_t sample, int64_t begin, int64_t end) {
    const float* mean = args.moments + sample * 2 * args.size;
    const float* deviation = mean + args.size;
    const float* noise = args.noise + sample * args.size;
    float* latent = args.latent + sample * args.size;
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      store(latent + i, (load(mean + i) + load(deviation + i) * load(noise + i)) * args.scale + args.bias);
    for (; i < end; ++i) latent[i] = (mean[i] + deviation[i] * noise[i]) * args.scale + args.bias;
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const InterpolantKernels& interpolantKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr InterpolantKernels table = {interpolant, samplePosterior};
  return table;
}

}  // namespace repa::cpu
