// C = epilogue(A · Bᵀ) for few rows of A: bound by reading B, so B is read once, where it lies, row by row.
//
// One step takes kDotColumns rows of B (columns of C) and kDotRows rows of A; every pair has a Vec of partial sums that
// runs along k, and one tree of shuffles sums all kLanes of them at the end.
#pragma once

#include "core/divide_up.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_pack.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int kDotColumns = kLanes >= 8 ? 4 : 2;
constexpr int kDotRows = kLanes / kDotColumns;

/// Lane i of the result is the sum over the lanes of terms[i].
template <int Half = kLanes / 2>
inline Vec sumEach(Vec (&terms)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < Half; ++i) {
    swapQuarters<Half>(terms[i], terms[i + Half], std::make_integer_sequence<int, kLanes>());
    terms[i] += terms[i + Half];
  }
  if constexpr (Half > 1)
    return sumEach<Half / 2>(terms);
  else
    return terms[0];
}

/// How far ahead of a float of B to prefetch: its place in the next kDotColumns rows, or nearer when they are long.
inline int64_t dotPrefetchDistance(int64_t k, int64_t ldb) { return k <= 1024 ? kDotColumns * ldb : 512; }

/// tile[i][j] = dot(a row i, b row j) for Rows rows and kDotColumns columns.
template <int Rows>
inline void dotBlock(int64_t k, const float* a, int64_t lda, const float* const (&b)[kDotColumns], int64_t ahead,
                     float* tile) {
  Vec terms[kLanes] = {};
  const auto step = [&](int64_t s, auto get) {
    Vec columns[kDotColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kDotColumns; ++j) {
      columns[j] = get(b[j] + s);
      __builtin_prefetch(b[j] + s + ahead);
    }
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      const Vec row = get(a + i * lda + s);
#pragma GCC unroll 4
      for (int j = 0; j < kDotColumns; ++j) terms[i * kDotColumns + j] += row * columns[j];
    }
  };
  int64_t s = 0;
  for (; s + kLanes <= k; s += kLanes) step(s, [](const float* from) { return load(from); });
  if (s < k) step(s, [&](const float* from) { return loadPartial(from, static_cast<int>(k - s)); });
  float sums[kLanes];
  store(sums, sumEach(terms));
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < kDotColumns; ++j) tile[i * kTileColumns + j] = sums[i * kDotColumns + j];
}

inline void dotRows(int64_t rows, int64_t k, const float* a, int64_t lda, const float* const (&b)[kDotColumns],
                    int64_t ahead, float* tile) {
  switch (rows) {
    case 1:
      return dotBlock<1>(k, a, lda, b, ahead, tile);
    case 2:
      return dotBlock<2>(k, a, lda, b, ahead, tile);
    case 3:
      return dotBlock<kDotRows < 3 ? kDotRows : 3>(k, a, lda, b, ahead, tile);
    default:
      return dotBlock<kDotRows>(k, a, lda, b, ahead, tile);
  }
}


inline bool isFewRowsDot(const GemmArgs& args) {
  return args.m <= kFewRows && args.packedB == nullptr && args.transB && !args.transA;
}

void gemmFewRowsDot(ThreadPool& pool, const GemmArgs& args) {
  const FinishTile finish = finishTileFor(args);
  const int64_t panels = panelsOf(args.n);
  const int64_t ahead = dotPrefetchDistance(args.k, args.ldb);
  // Enough panels to a chunk for some 64 KiB of B, one at least.
  const int64_t perChunk = most(1, 16384 / most(1, kTileColumns * args.k));
  pool.parallelFor(divideUp(panels, perChunk), [&](int64_t chunk, int) {
    alignas(64) float tiles[kFewRows / kTileRows + 1][kTileFloats];
    for (int64_t panel = chunk * perChunk; panel < least(panels, (chunk + 1) * perChunk); ++panel) {
      const int64_t column = panel * kTileColumns;
      const int64_t columns = least(kTileColumns, args.n - column);
      for (int64_t j = 0; j < columns; j += kDotColumns) {
        const float* b[kDotColumns];
        for (int64_t d = 0; d < kDotColumns; ++d) b[d] = args.b + least(column + j + d, args.n - 1) * args.ldb;
        for (int64_t p = 0; p < rowPanelsOf(args.m); ++p) {
          const Range rows = rowPanel(args.m, p);
          for (int64_t row = rows.begin; row < rows.end; row += kDotRows)
            dotRows(least(kDotRows, rows.end - row), args.k, args.a + row * args.lda, args.lda, b, ahead,
                    tiles[p] + (row - rows.begin) * kTileColumns + j);
        }
      }
      for (int64_t p = 0; p < rowPanelsOf(args.m); ++p) {
        const Range rows = rowPanel(args.m, p);
        finish(args, tiles[p], {rows.begin, rows.size(), column, columns});
      }
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
