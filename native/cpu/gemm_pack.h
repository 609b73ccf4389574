// How gemm.cpp lays B and A out for its inner loop.
//
// Packed B: k is cut into steps blocks of at most kMaxSteps, the columns into panels of kTileColumns.
//
//     block 0: [panel 0][panel 1]...  block 1: [panel 0][panel 1]...      a panel: [step][kTileColumns]
//
// The columns of the last panel that B does not have are zeros. A row panel of A, at most
// kTileRows rows, is staged (copied) one steps block at a time, or read in place.
#pragma once

#include <utility>

#include "core/divide_up.h"
#include "cpu/gemm.h"
#include "cpu/gemm_microkernel.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Part `index` of [0, total) cut into `parts` parts whose sizes differ by one at most.
struct Range {
  int64_t begin;
  int64_t end;
  int64_t size() const { return end - begin; }
};
inline Range part(int64_t total, int64_t parts, int64_t index) {
  return {total * index / parts, total * (index + 1) / parts};
}

/// Up to so many rows of A, reading an unpacked B in place beats packing it.
constexpr int64_t kFewRows = 32;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/// How many steps blocks k has: at least one, so that k = 0 still visits every tile.
inline int64_t stepsBlocks(int64_t k) { return most(1, divideUp(k, kMaxSteps)); }
inline int64_t panelsOf(int64_t n) { return divideUp(n, kTileColumns); }
inline int64_t wholeLines(int64_t floats) { return divideUp(floats, 16) * 16; }
inline int64_t packedFloats(int64_t n, int64_t k) { return wholeLines(panelsOf(n) * kTileColumns * k); }

/// Where a panel of a steps block begins in packed B.
inline int64_t packedOffset(int64_t n, Range steps, int64_t panel) {
  return (steps.begin * panelsOf(n) + panel * steps.size()) * kTileColumns;
}

/// One of the log2(kLanes) rounds of transposing a kLanes x kLanes block: swaps the off-diagonal quarters of size Half.
template <int Half, int... lane>
inline void swapQuarters(Vec& upper, Vec& lower, std::integer_sequence<int, lane...>) {
  const Vec a = upper;
  const Vec b = lower;
  upper = shuffle<((lane & Half) ? kLanes + lane - Half : lane)...>(a, b);
  lower = shuffle<((lane & Half) ? kLanes + lane : lane + Half)...>(a, b);
}

template <int Half = kLanes / 2>
inline void transposeBlock(Vec (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if ((i & Half) == 0) swapQuarters<Half>(rows[i], rows[i + Half], std::make_integer_sequence<int, kLanes>());
  if constexpr (Half > 1) transposeBlock<Half / 2>(rows);
}

/// to[step * kTileColumns + lane] = from[lane * stride + step]: kLanes rows of a transposed B become columns. Rows from
/// `count` on are zeros.
inline void packTransposed(int64_t steps, const float* from, int64_t stride, int64_t count, float* to) {
  Vec rows[kLanes];
  int64_t s = 0;
  if (count == kLanes) {
    for (; s + kLanes <= steps; s += kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) rows[i] = load(from + i * stride + s);
      transposeBlock(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (s + i) * kTileColumns, rows[i]);
    }
  }
  for (; s < steps; ++s)
    for (int64_t i = 0; i < kLanes; ++i) to[s * kTileColumns + i] = i < count ? from[i * stride + s] : 0.0f;
}

/// One panel of one steps block. `b` is the whole of B as the caller has it.
inline void packPanel(const float* b, int64_t ldb, bool transB, int64_t n, Range steps, int64_t panel, float* to) {
  const int64_t column = panel * kTileColumns;
  const int64_t columns = least(kTileColumns, n - column);
  if (transB) {
    for (int64_t j = 0; j < kTileColumns; j += kLanes) {
      const int64_t count = most(0, least(kLanes, columns - j));
      packTransposed(steps.size(), b + (column + (count > 0 ? j : 0)) * ldb + steps.begin, ldb, count, to + j);
    }
    return;
  }
  const float* from = b + steps.begin * ldb + column;
  if (columns == kTileColumns) {
    // Rows of B lie too far apart for the CPU to foresee them, and what is written has to be fetched first too.
    constexpr int64_t kAhead = 16;
    for (int64_t s = 0; s < steps.size(); ++s) {
      for (int j = 0; j < kTileColumns; j += 16) {
        __builtin_prefetch(from + (s + kAhead) * ldb + j);
        __builtin_prefetch(to + (s + kAhead) * kTileColumns + j, 1);
      }
      for (int j = 0; j < kTileColumns; j += kLanes) store(to + s * kTileColumns + j, load(from + s * ldb + j));
    }
  } else {
    for (int64_t s = 0; s < steps.size(); ++s)
      for (int64_t j = 0; j < kTileColumns; ++j) to[s * kTileColumns + j] = j < columns ? from[s * ldb + j] : 0.0f;
  }
}

/// The rows of C in panels of nearly equal height: 64 rows are 13 + 13 + 13 + 13 + 12, not 4 times 14 and a slow 8.
inline int64_t rowPanelsOf(int64_t m) { return divideUp(m, kTileRows); }
inline Range rowPanel(int64_t m, int64_t index) { return part(m, rowPanelsOf(m), index); }

/// Whether row panels of A are read in place. Transposed, their steps lie a row apart, each in a page of its own: only
/// when that happens once or twice, or k is short. Not transposed, unless the rows' distance lets more of them meet in
/// one set of the L1 cache than it holds: 64 sets of 64-byte lines on every CPU that matters here, with 8 ways on some.
inline bool readsInPlace(bool transA, int64_t lda, int64_t n, int64_t k) {
  if (transA) return panelsOf(n) <= 2 || k <= 16;
  const int64_t bytes = lda * static_cast<int64_t>(sizeof(float)) % 4096;
  return bytes != 0 && bytes != 2048;
}

/// Whether B is read where the caller has it, one row a step: worth it when few rows of A would meet a packed copy, and when
/// a steps block of it stays in the L2 cache as it lies, without the rows' distance making them meet in one set there.
inline bool readsBInPlace(const GemmArgs& args) {
  constexpr int64_t kSharedBytes = 640 << 10;
  if (args.packedB != nullptr || args.transB) return false;
  if (args.m <= kFewRows) return true;
  const int64_t rowBytes = args.ldb * static_cast<int64_t>(sizeof(float));
  return args.n >= kTileColumns && least(args.k, kMaxSteps) * rowBytes <= kSharedBytes && rowBytes % 1024 != 0;
}

/// The strides of staged A. Rows: 64 bytes more than the row, so that they do not meet.
constexpr int64_t kStagedRowStride = kMaxSteps + 16;
constexpr int64_t kStagedColumnStride = (kTileRows + kLanes - 1) / kLanes * kLanes;

/// The most floats of a staged panel.
inline int64_t stagedPanelFloats(bool transA, int64_t steps) {
  return wholeLines(transA ? steps * kStagedColumnStride : kTileRows * kStagedRowStride);
}

/// Stages rows [rows) of an A that is not transposed, one row panel.
inline void stageRows(const float* a, int64_t lda, Range rows, Range steps, float* staged) {
  if (steps.size() == 0) return;
  for (int64_t i = 0; i < rows.size(); ++i)
    std::memcpy(staged + i * kStagedRowStride, a + (rows.begin + i) * lda + steps.begin,
                sizeof(float) * static_cast<size_t>(steps.size()));
}

/// Stages row panels [panels) of a transposed A. Some steps at a time for all panels: as many pages as a small TLB
/// holds, each visited once. Panel p is at staged + (p - panels.begin) * stagedPanelFloats.
inline void stageColumns(const float* a, int64_t lda, int64_t m, Range panels, Range steps, float* staged) {
  constexpr int64_t kStepsAtOnce = 16;
  const int64_t panelFloats = stagedPanelFloats(true, steps.size());
  for (int64_t begin = 0; begin < steps.size(); begin += kStepsAtOnce) {
    const int64_t end = least(steps.size(), begin + kStepsAtOnce);
    for (int64_t p = panels.begin; p < panels.end; ++p) {
      const int64_t row = rowPanel(m, p).begin;
      const float* from = a + steps.begin * lda + row;
      float* to = staged + (p - panels.begin) * panelFloats;
      for (int64_t s = begin; s < end; ++s) __builtin_prefetch(from + (s + kStepsAtOnce) * lda);
      // Every panel's first line is the last of the panel before it, except that nothing comes after the last panel.
      if (p + 1 == panels.end)
        for (int64_t s = begin; s < end; ++s) __builtin_prefetch(from + (s + kStepsAtOnce) * lda + kTileRows - 1);
      // Whole vectors, so mostly a few floats of the next panel too; near the edge of A only what is there.
      for (int j = 0; j < kStagedColumnStride; j += kLanes) {
        const int64_t left = m - row - j;
        if (left >= kLanes) {
          for (int64_t s = begin; s < end; ++s) store(to + s * kStagedColumnStride + j, load(from + s * lda + j));
        } else {
          for (int64_t s = begin; s < end; ++s)
            for (int64_t i = 0; i < left; ++i) to[s * kStagedColumnStride + j + i] = from[s * lda + j + i];
        }
      }
    }
  }
}

/// Starts fetching share `index` of `shares` of rows [rows) of an A that is not transposed.
inline void prefetchRows(const float* a, int64_t lda, Range rows, Range steps, int64_t shares, int64_t index) {
  constexpr int kLine = 16;
  const Range mine = part(rows.size(), shares, index);
  for (int64_t row = rows.begin + mine.begin; row < rows.begin + mine.end; ++row)
    for (int64_t s = steps.begin; s < steps.end; s += kLine) __builtin_prefetch(a + row * lda + s, 0, 2);
}

/// Starts fetching share `index` of `shares` of rows [rows) of a transposed A, for stageColumns.
inline void prefetchColumns(const float* a, int64_t lda, Range rows, Range steps, int64_t shares, int64_t index) {
  constexpr int kLine = 16;
  const Range mine = part(steps.size(), shares, index);
  for (int64_t s = steps.begin + mine.begin; s < steps.begin + mine.end; ++s) {
    for (int64_t row = rows.begin; row < rows.end; row += kLine) __builtin_prefetch(a + s * lda + row, 0, 2);
    __builtin_prefetch(a + s * lda + rows.end - 1, 0, 2);
  }
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
