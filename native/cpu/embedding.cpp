#include "cpu/embedding.h"

#include <cmath>

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// The reference computes in float32: exponent, frequency and argument are each rounded to it. At t near 1000 that
/// moves an argument by 6e-5 against exact arithmetic, so the same roundings are made here. cos and sin themselves are
/// taken in double, where no range reduction loses anything.
void timestepEmbedding(ThreadPool& pool, const TimestepEmbeddingArgs& args) {
  const int64_t half = args.dim / 2;
  const float negativeLogPeriod = static_cast<float>(-std::log(args.maxPeriod));
  // A cosine and a sine in double cost about as much as reading 64 floats.
  const int64_t parts = divideUp(args.batch * half * 64, kChunkFloats);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range columns = evenPart(half, parts, part);
    for (int64_t i = columns.begin; i < columns.end; ++i) {
      const float exponent = negativeLogPeriod * static_cast<float>(i) / static_cast<float>(half);
      const float frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
      for (int64_t b = 0; b < args.batch; ++b) {
        const float argument = args.t[b] * frequency;
        float* row = args.out + b * args.dim;
        row[i] = static_cast<float>(std::cos(static_cast<double>(argument)));
        row[half + i] = static_cast<float>(std::sin(static_cast<double>(argument)));
      }
    }
  });
  if (args.dim % 2 == 1)
    for (int64_t b = 0; b < args.batch; ++b) args.out[b * args.dim + args.dim - 1] = 0.0f;
}

/// Cosine and sine in double, as above: t f 2 pi may be some tens.
void fourierFeatures(ThreadPool& pool, const FourierFeaturesArgs& args) {
  const int64_t parts = divideUp(args.batch * args.count * 64, kChunkFloats);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range columns = evenPart(args.count, parts, part);
    for (int64_t b = 0; b < args.batch; ++b) {
      float* row = args.out + b * 2 * args.count;
      for (int64_t i = columns.begin; i < columns.end; ++i) {
        const float turns = args.t[b] * args.frequencies[i];
        const float argument = turns * 2.0f * static_cast<float>(M_PI);
        row[i] = static_cast<float>(std::sin(static_cast<double>(argument)));
        row[args.count + i] = static_cast<float>(std::cos(static_cast<double>(argument)));
      }
    }
  });
}

void lookup(ThreadPool& pool, const EmbeddingArgs& args) {
  const int64_t parts = rowParts(args.count, args.width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(args.count, parts, part);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t id = args.ids[i];
      float* out = args.out + i * args.width;
      if (id >= 0 && id < args.rows) {
        std::memcpy(out, args.table + id * args.width, sizeof(float) * static_cast<size_t>(args.width));
      } else {
        for (int64_t c = 0; c < args.width; ++c) out[c] = NAN;
      }
    }
  });
}

/// Parallel over columns: each part adds all of dOut's rows to its own columns of the table, in the order of i.
void lookupBackward(ThreadPool& pool, const EmbeddingBackwardArgs& args) {
  if (!args.accumulate) {
    const int64_t size = args.rows * args.width;
    pool.parallelFor(floatChunks(size), [&](int64_t chunk, int) {
      const Range range = floatChunk(size, chunk);
      std::memset(args.dTable + range.begin, 0, sizeof(float) * static_cast<size_t>(range.end - range.begin));
    });
  }
  constexpr int64_t kTile = 64;
  const int64_t tiles = divideUp(args.width, kTile);
  const int64_t fitting = divideUp(args.count * args.width, kChunkFloats);
  const int64_t parts = fitting < tiles ? fitting : tiles;
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(tiles, parts, part);
    const int64_t begin = range.begin * kTile;
    const int64_t end = range.end * kTile < args.width ? range.end * kTile : args.width;
    for (int64_t i = 0; i < args.count; ++i) {
      const int64_t id = args.ids[i];
      if (id < 0 || id >= args.rows) continue;
      const float* dOut = args.dOut + i * args.width + begin;
      float* dRow = args.dTable + id * args.width + begin;
      forEachVector(end - begin, [&](int64_t c, auto lanes, int) {
        store(dRow + c, load(dRow + c, lanes) + load(dOut + c, lanes), lanes);
      });
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const EmbeddingKernels& embeddingKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr EmbeddingKernels table = {level::timestepEmbedding, level::fourierFeatures, level::lookup, level::lookupBackward};
  return table;
}

}  // namespace repa::cpu
