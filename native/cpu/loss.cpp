#include "cpu/loss.h"

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Sums run in double: the kernels wait for memory anyway, and a mean over 10^5 terms keeps all its float digits.
typedef float HalfVec __attribute__((vector_size(kVectorBytes / 2)));
typedef double DoubleVec __attribute__((vector_size(kVectorBytes)));
constexpr int kDoubleLanes = kLanes / 2;

DoubleVec loadAsDouble(const float* from) {
  HalfVec v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_convertvector(v, DoubleVec);
}

double sumDoubleLanes(DoubleVec v) {
  double sum = 0;
  for (int i = 0; i < kDoubleLanes; ++i) sum += v[i];
  return sum;
}

// -cos(z, y) of one token, and its gradient by z where gradZ is not null. With n(x) = max(|x|, 1e-12), torch's
// normalize:
//     cos   = z.y / (n(z) n(y))
//     dcos  = (y / n(y) - cos z / n(z)) / n(z)   where |z| >= 1e-12
//     dcos  =  y / n(y) / 1e-12                  where z was clamped and n(z) is a constant
double tokenAlignment(const float* z, const float* y, int64_t width, float weight, float* gradZ) {
  constexpr double kSmallestNorm = 1e-12;
  DoubleVec zzLanes = {}, yyLanes = {}, zyLanes = {};
  int64_t i = 0;
  for (; i + kDoubleLanes <= width; i += kDoubleLanes) {
    const DoubleVec zi = loadAsDouble(z + i);
    const DoubleVec yi = loadAsDouble(y + i);
    zzLanes += zi * zi;
    yyLanes += yi * yi;
    zyLanes += zi * yi;
  }
  double zz = sumDoubleLanes(zzLanes), yy = sumDoubleLanes(yyLanes), zy = sumDoubleLanes(zyLanes);
  for (; i < width; ++i) {
    zz += double{z[i]} * z[i];
    yy += double{y[i]} * y[i];
    zy += double{z[i]} * y[i];
  }
  const double zNorm = __builtin_sqrt(zz), yNorm = __builtin_sqrt(yy);
  const double zLength = zNorm > kSmallestNorm ? zNorm : kSmallestNorm;
  const double yLength = yNorm > kSmallestNorm ? yNorm : kSmallestNorm;
  const double cosine = zy / zLength / yLength;
  if (gradZ == nullptr) return -cosine;

  const float yScale = static_cast<float>(1 / yLength);
  const float zScale = zNorm >= kSmallestNorm ? static_cast<float>(cosine / zLength) : 0.0f;
  const float scale = static_cast<float>(-weight / zLength);
  for (i = 0; i + kLanes <= width; i += kLanes)
    store(gradZ + i, scale * (yScale * load(y + i) - zScale * load(z + i)));
  for (; i < width; ++i) gradZ[i] = scale * (yScale * y[i] - zScale * z[i]);
  return -cosine;
}

int64_t cosineAlignmentScratchFloats(const CosineAlignmentArgs& args, int) { return args.batch * args.tokens; }

// Tokens first, each alone, into scratch; then every sample's mean over its tokens.
void cosineAlignment(ThreadPool& pool, const CosineAlignmentArgs& args) {
  const int64_t tokens = args.batch * args.tokens;
  const float weight = args.tokenWeight * lossScaleOf(args.state);
  const int64_t tokensPerChunk = 1 + 65536 / (args.width + 1);
  pool.parallelFor((tokens + tokensPerChunk - 1) / tokensPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * tokensPerChunk;
    const int64_t end = begin + tokensPerChunk < tokens ? begin + tokensPerChunk : tokens;
    for (int64_t token = begin; token < end; ++token) {
      const int64_t at = token * args.width;
      float* gradient = args.gradProjection == nullptr ? nullptr : args.gradProjection + at;
      args.scratch[token] = static_cast<float>(
          tokenAlignment(args.projection + at, args.target + at, args.width, weight, gradient));
    }
  });
  const int64_t samplesPerChunk = 1 + 16384 / (args.tokens + 1);
  pool.parallelFor((args.batch + samplesPerChunk - 1) / samplesPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * samplesPerChunk;
    const int64_t end = begin + samplesPerChunk < args.batch ? begin + samplesPerChunk : args.batch;
    for (int64_t b = begin; b < end; ++b) {
      double sum = 0;
      for (int64_t token = 0; token < args.tokens; ++token) sum += args.scratch[b * args.tokens + token];
      args.loss[b] = static_cast<float>(sum / static_cast<double>(args.tokens));
    }
  });
}

// Mean squared error of one sample; the gradient is gradScale * (p - v).
double sampleVelocityLoss(const float* p, const float* v, int64_t size, float gradScale, float* gradP) {
  DoubleVec lanes = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Vec difference = load(p + i) - load(v + i);
    if (gradP != nullptr) store(gradP + i, gradScale * difference);
    float values[kLanes];
    store(values, difference);
    const DoubleVec low = loadAsDouble(values), high = loadAsDouble(values + kDoubleLanes);
    lanes += low * low;
    lanes += high * high;
  }
  double sum = sumDoubleLanes(lanes);
  for (; i < size; ++i) {
    const float difference = p[i] - v[i];
    if (gradP != nullptr) gradP[i] = gradScale * difference;
    sum += double{difference} * difference;
  }
  return sum / static_cast<double>(size);
}

void velocityLoss(ThreadPool& pool, const VelocityLossArgs& args) {
  const float gradScale = static_cast<float>(2.0 * args.batchWeight / static_cast<double>(args.size * args.batch)) * lossScaleOf(args.state);
  const int64_t samplesPerChunk = 1 + 32768 / (args.size + 1);
  pool.parallelFor((args.batch + samplesPerChunk - 1) / samplesPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * samplesPerChunk;
    const int64_t end = begin + samplesPerChunk < args.batch ? begin + samplesPerChunk : args.batch;
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = b * args.size;
      float* gradient = args.gradPrediction == nullptr ? nullptr : args.gradPrediction + at;
      args.loss[b] = static_cast<float>(
          sampleVelocityLoss(args.prediction + at, args.target + at, args.size, gradScale, gradient));
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const LossKernels& lossKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr LossKernels table = {cosineAlignment, cosineAlignmentScratchFloats, velocityLoss};
  return table;
}

}  // namespace repa::cpu
