// How the kernels cut work into chunks for ThreadPool::parallelFor: by the problem's size alone, so that results do not
// depend on the number of threads.
#pragma once

#include <cstdint>

#include "core/divide_up.h"

#ifndef REPA_LEVEL
#error "chunks.h is for the files that CMakeLists.txt compiles once per CPU level"
#endif

namespace repa::cpu::REPA_LEVEL {

/// Floats of one stream that make a chunk of memory-bound work: 128 KiB, some tens of microseconds, and few enough that
/// a chunk's streams stay in the second-level cache when a kernel visits them twice.
constexpr int64_t kChunkFloats = 32768;

struct Range {
  int64_t begin, end;
};

/// Chunks of kChunkFloats that cover `count` floats.
static inline int64_t floatChunks(int64_t count) { return divideUp(count, kChunkFloats); }

static inline Range floatChunk(int64_t count, int64_t chunk) {
  const int64_t begin = chunk * kChunkFloats;
  return {begin, count - begin < kChunkFloats ? count : begin + kChunkFloats};
}

/// Part `part` of `parts` nearly equal ones of [0, count).
static inline Range evenPart(int64_t count, int64_t parts, int64_t part) {
  return {count * part / parts, count * (part + 1) / parts};
}

/// Into how many even parts to cut `rows` rows of `width` floats: about kChunkFloats each, but at least `leastRows`
/// rows, where each part costs a row of partial sums.
static inline int64_t rowParts(int64_t rows, int64_t width, int64_t leastRows) {
  const int64_t fitting = kChunkFloats / (width > 0 ? width : 1);
  return divideUp(rows, fitting > leastRows ? fitting : leastRows);
}

}  // namespace repa::cpu::REPA_LEVEL
