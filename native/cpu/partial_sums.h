// The second stage of the column sums: blocks of rows, each already summed into one row of partial sums, are added up.
#pragma once

#include "core/divide_up.h"
#include "core/thread_pool.h"
#include "cpu/chunks.h"

namespace repa::cpu::REPA_LEVEL {

/// out[group, c] = sum over b of partials[group, b, c], in double and in the order of b. Row (group, b) is at
/// partials + group * groupStride + b * blockStride; a group's sums are at out + group * outStride. No blocks: zeros.
static inline void addPartialSums(ThreadPool& pool, int64_t groups, int64_t blocks, int64_t width,
                                  const float* partials, int64_t groupStride, int64_t blockStride, float* out,
                                  int64_t outStride, bool accumulate) {
  // The tiles of all groups form one row of work, so that one wide group and many narrow ones are cut alike.
  constexpr int64_t kTile = 64;
  const int64_t tiles = divideUp(width, kTile);
  const int64_t parts = divideUp(groups * tiles * kTile * (blocks + 1), kChunkFloats);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(groups * tiles, parts, part);
    for (int64_t index = range.begin; index < range.end; ++index) {
      const int64_t group = index / tiles;
      const int64_t begin = index % tiles * kTile;
      const int64_t columns = width - begin < kTile ? width - begin : kTile;
      double total[kTile] = {};
      for (int64_t b = 0; b < blocks; ++b) {
        const float* row = partials + group * groupStride + b * blockStride + begin;
        for (int64_t c = 0; c < columns; ++c) total[c] += static_cast<double>(row[c]);
      }
      float* to = out + group * outStride + begin;
      for (int64_t c = 0; c < columns; ++c) to[c] = static_cast<float>(accumulate ? to[c] + total[c] : total[c]);
    }
  });
}

}  // namespace repa::cpu::REPA_LEVEL
