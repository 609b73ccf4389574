#include "cpu/random.h"

#include "core/box_muller.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kElementsPerChunk = 1 << 14;

// out[i] = number firstElement + i, for whichever draw(block, float number[4]) makes the four numbers of a block.
// Chunks begin at any element: the blocks at both ends are made whole and partly kept.
template <class Draw>
void fill(ThreadPool& pool, const RandomFillArgs& args, Draw draw) {
  const int64_t chunks = (args.count + kElementsPerChunk - 1) / kElementsPerChunk;
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    int64_t i = chunk * kElementsPerChunk;
    const int64_t end = i + kElementsPerChunk < args.count ? i + kElementsPerChunk : args.count;
    float number[4];
    while (i < end) {
      const int64_t element = args.firstElement + i;
      if (element % 4 == 0 && end - i >= 4) {
        draw(static_cast<uint64_t>(element / 4), args.out + i);
        i += 4;
      } else {
        draw(static_cast<uint64_t>(element / 4), number);
        int64_t word = element % 4;
        while (word < 4 && i < end) args.out[i++] = number[word++];
      }
    }
  });
}

void uniformNumbers(const RandomPosition& position, uint64_t block, float* number) {
  const PhiloxBlock bits = randomBlock(position, block);
  for (int k = 0; k < 4; ++k) number[k] = uniformFromBits(bits.word[k]);
}

void normalNumbers(const RandomPosition& position, uint64_t block, float* number) {
  const PhiloxBlock bits = randomBlock(position, block);
  const NormalPair a = boxMuller(bits.word[0], bits.word[1]);
  const NormalPair b = boxMuller(bits.word[2], bits.word[3]);
  number[0] = a.first;
  number[1] = a.second;
  number[2] = b.first;
  number[3] = b.second;
}

void uniform(ThreadPool& pool, const RandomFillArgs& args) {
  fill(pool, args, [&](uint64_t block, float* number) { uniformNumbers(args.position, block, number); });
}

void normal(ThreadPool& pool, const RandomFillArgs& args) {
  fill(pool, args, [&](uint64_t block, float* number) { normalNumbers(args.position, block, number); });
}

// The times of a batch are few, and must be the same bits at every level: a product that passes through memory is
// rounded before the sum that follows, whatever the compiler would like to fuse.
double rounded(double value) {
  volatile double kept = value;
  return kept;
}

// e^n for |n| < 7: n = k ln 2 + r, and the Taylor series of e^r to r^13 / 13! (below 2e-16 for |r| <= ln 2 / 2).
double exponential(double n) {
  const int k = static_cast<int>(rounded(n * 1.4426950408889634) + (n < 0 ? -0.5 : 0.5));
  const double r = (n - rounded(k * 0.69314718055989033)) - rounded(k * 5.4979230187083712e-14);
  double sum = 1.0;
  for (int i = 13; i > 0; --i) sum = 1.0 + rounded(sum * r) / i;
  return k < 0 ? sum / static_cast<double>(1 << -k) : sum * static_cast<double>(1 << k);
}

// atan(s) for s >= 0: of 1 / s when s > 1, with the angle halved twice by tan(a / 2) = tan a / (1 + sqrt(1 + tan^2 a)),
// so that the series of what is left, at most tan(pi / 16), needs terms up to the 19th power.
double arctangent(double s) {
  double x = s > 1 ? 1 / s : s;
  for (int halving = 0; halving < 2; ++halving) x = x / (1 + __builtin_sqrt(1 + rounded(x * x)));
  const double square = rounded(x * x);
  double sum = 0;
  for (int power = 19; power > 0; power -= 2) sum = 1.0 / power - rounded(sum * square);
  const double angle = 4 * rounded(sum * x);
  return s > 1 ? 1.5707963267948966 - angle : angle;
}

// Number `element` of a position, alone.
float uniformNumber(const RandomPosition& position, int64_t element) {
  float number[4];
  uniformNumbers(position, static_cast<uint64_t>(element / 4), number);
  return number[element % 4];
}

float normalNumber(const RandomPosition& position, int64_t element) {
  float number[4];
  normalNumbers(position, static_cast<uint64_t>(element / 4), number);
  return number[element % 4];
}

void timesteps(ThreadPool&, const TimestepsArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    const int64_t element = args.firstSample + b;
    if (args.weighting == TimeWeighting::uniform) {
      args.t[b] = uniformNumber(args.position, element);
      continue;
    }
    const double s = exponential(normalNumber(args.position, element));
    const double t = args.path == InterpolantPath::linear ? s / (1 + s) : arctangent(s) * 0.63661977236758134;
    args.t[b] = static_cast<float>(t);
  }
}

void dropLabels(ThreadPool&, const DropLabelsArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    const bool drop = uniformNumber(args.position, args.firstSample + b) < args.probability;
    args.out[b] = drop ? args.nullClass : args.labels[b];
  }
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const RandomKernels& randomKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr RandomKernels table = {uniform, normal, timesteps, dropLabels};
  return table;
}

}  // namespace repa::cpu
