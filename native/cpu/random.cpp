#include "cpu/random.h"

#include "core/box_muller.h"
#include "core/lognormal_time.h"
#include "core/shifted_time.h"

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

void uniform(ThreadPool& pool, const RandomFillArgs& args) {
  fill(pool, args, [&](uint64_t block, float* number) { uniformNumbers(args.position, block, number); });
}

void normal(ThreadPool& pool, const RandomFillArgs& args) {
  fill(pool, args, [&](uint64_t block, float* number) { normalNumbers(args.position, block, number); });
}

void timesteps(ThreadPool&, const TimestepsArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    const int64_t element = args.firstSample + b;
    const float t = args.weighting == TimeWeighting::uniform
                        ? uniformNumber(args.position, element)
                        : lognormalTime(normalNumber(args.position, element), args.path == InterpolantPath::cosine);
    args.t[b] = shiftedTime(t, args.shift);
  }
}

void integers(ThreadPool&, const IntegersArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) args.out[b] = args.low + integerBelow(uniformNumber(args.position, args.firstSample + b), args.count);
}

void dropLabels(ThreadPool&, const DropLabelsArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    const bool drop = uniformNumber(args.position, args.firstSample + b) < args.probability;
    args.out[b] = drop ? args.nullClass : args.labels[b];
  }
}

void drawTokens(ThreadPool& pool, const DrawTokensArgs& args) {
  pool.parallelFor(args.batch, [&](int64_t sample, int) {
    int32_t* ids = args.ids + sample * args.taken;
    // The tokens' numbers, until it is known which of them are taken.
    int32_t* places = args.places + sample * args.tokens;
    const int64_t first = (args.firstSample + sample) * args.tokens;
    for (int64_t token = 0; token < args.tokens; ++token)
      places[token] = integerBelow(uniformNumber(args.position, first + token), kTokenNumbers);
    const auto smaller = [&](int32_t limit) {
      int64_t count = 0;
      for (int64_t token = 0; token < args.tokens; ++token) count += places[token] < limit;
      return count;
    };
    // The largest number that has no more than `taken` below it.
    int32_t limit = 0;
    for (int32_t bit = kTokenNumbers / 2; bit > 0; bit /= 2)
      if (smaller(limit | bit) <= args.taken) limit |= bit;
    int64_t equalOnes = args.taken - smaller(limit);
    int32_t place = 0;
    for (int64_t token = 0; token < args.tokens; ++token) {
      const bool isTaken = places[token] < limit || (places[token] == limit && equalOnes-- > 0);
      if (isTaken) ids[place] = static_cast<int32_t>(token);
      places[token] = isTaken ? place++ : -1;
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const RandomKernels& randomKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr RandomKernels table = {uniform, normal, timesteps, integers, dropLabels, drawTokens};
  return table;
}

}  // namespace repa::cpu
