// Small matrix products that stay in the cache: C = A B for operands that a caller has laid out in its own scratch.
//
// C is cut into register tiles: `vectors` Vecs wide (a panel of B's columns) and as many rows as there are registers
// for the sums. One step along the depth loads the panel's Vecs once and uses them for every row:
//
//                 panel: vectors x kLanes columns
//              +----------------+
//   depth      |  b[k][.]       |  loaded as Vecs
//              +----------------+
//   a[i][k] -> |  sum[i][.]     |  rows x vectors Vecs in registers, an FMA each per step
//   broadcast  +----------------+
//
// Panels are the outer loop and rows the inner, so that a panel of B (depth x panel) stays in L1 while all of A passes.
#pragma once

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {

#if defined(__AVX512F__) || defined(__aarch64__)
// 32 registers.
constexpr int kPanelVectors = 5;
constexpr int tileRows(int vectors) { return vectors == 5 ? 5 : vectors == 4 ? 6 : vectors == 3 ? 8 : 12; }
#elif defined(__AVX2__)
// 16 registers.
constexpr int kPanelVectors = 3;
constexpr int tileRows(int vectors) { return vectors == 3 ? 4 : vectors == 2 ? 6 : 8; }
#else
// 16 registers, one of them for the product that no FMA swallows.
constexpr int kPanelVectors = 2;
constexpr int tileRows(int vectors) { return vectors == 2 ? 5 : 8; }
#endif

/// How A lies in memory: rowMajor is a[i * lda + k], depthMajor (the transpose of a stored matrix) a[k * lda + i].
enum class TileA { rowMajor, depthMajor };

template <TileA layout, int rows, int vectors, class Finish>
static inline __attribute__((always_inline)) void tileProduct(int64_t depth, const float* a, int64_t lda,
                                                              const float* b, int64_t ldb, const Finish& finish) {
  Vec sum[rows][vectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Vec panel[vectors];
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) panel[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const float element = layout == TileA::rowMajor ? a[i * lda + k] : a[k * lda + i];
      const Vec broadcast = splat(element);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) sum[i][v] += broadcast * panel[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) finish(i, v * kLanes, sum[i][v]);
}

/// All rows of one panel: tiles of `tile` rows, then of 4, 2 and 1 for what is left.
template <TileA layout, int tile, int vectors, class Finish>
static void panelProduct(int64_t row, int64_t rows, int64_t depth, const float* a, int64_t lda, const float* b,
                         int64_t ldb, const Finish& finish) {
  for (; row + tile <= rows; row += tile) {
    const auto finishRow = [&](int i, int column, Vec sum)
                               __attribute__((always_inline)) { finish(row + i, column, sum); };
    tileProduct<layout, tile, vectors>(depth, layout == TileA::rowMajor ? a + row * lda : a + row, lda, b, ldb,
                                       finishRow);
  }
  if constexpr (tile > 1)
    if (row < rows) panelProduct<layout, (tile > 4 ? 4 : tile / 2), vectors>(row, rows, depth, a, lda, b, ldb, finish);
}

template <TileA layout, int vectors, class Finish>
static inline void panelOfWidth(int width, int64_t rows, int64_t depth, const float* a, int64_t lda, const float* b,
                                int64_t ldb, const Finish& finish) {
  if (width == vectors)
    panelProduct<layout, tileRows(vectors), vectors>(0, rows, depth, a, lda, b, ldb, finish);
  else if constexpr (vectors > 1)
    panelOfWidth<layout, vectors - 1>(width, rows, depth, a, lda, b, ldb, finish);
}

/// C = A B for A [rows, depth] and B [depth, columns] with row stride ldb, where B has room for whole Vecs: columns is
/// a multiple of kLanes. Calls finish(row, column, sum) once for every Vec of C. Each element is summed in the order of
/// the depth, whatever the sizes, so the same inputs give the same bits in any tiling.
template <TileA layout, class Finish>
static void product(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t lda, const float* b,
                    int64_t ldb, const Finish& finish) {
  const int64_t vectors = columns / kLanes;
  const int64_t panels = (vectors + kPanelVectors - 1) / kPanelVectors;
  int64_t start = 0;
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int width = static_cast<int>(vectors / panels + (panel < vectors % panels ? 1 : 0));
    const int64_t offset = start * kLanes;
    const auto finishPanel = [&](int64_t row, int64_t column, Vec sum)
                                 __attribute__((always_inline)) { finish(row, offset + column, sum); };
    panelOfWidth<layout, kPanelVectors>(width, rows, depth, a, lda, b + offset, ldb, finishPanel);
    start += width;
  }
}

}  // namespace repa::cpu::REPA_LEVEL
