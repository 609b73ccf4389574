// The inner loop of gemm.cpp: one register tile of C, tile[rows][columns] (+)= A panel · B panel, over k steps.
//
//                     B panel, one step: kTileColumns floats (2 Vecs)
//                     ┌──────────┬──────────┐
//       A panel  a0 ─▶│ acc[0][0]│ acc[0][1]│      every step loads 2 Vecs of B, and per row broadcasts one
//                a1 ─▶│ acc[1][0]│ acc[1][1]│      float of A and does 2 FMAs: 28 FMAs on 2 + 14 loads with
//                 :   │     :    │     :    │      AVX-512, all of acc in registers (28 + 2 + 1 of 32)
//                     └──────────┴──────────┘
#pragma once

#include <utility>

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// As many accumulators as leave registers for a row of B and a broadcast of A: of 32 registers or of 16.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVecs = 2;
constexpr int kTileColumns = kTileVecs * kLanes;
constexpr int kTileFloats = kTileRows * kTileColumns;

/// The most steps of k between two visits to the tile's memory. Both panels then fit the L2 cache many times over, and
/// SiT-S's 384 needs one pass.
constexpr int kMaxSteps = 384;

// How the micro-kernel finds A:
//     rows      A not transposed: a[row * strideA + step], in place wherever that is sound (see gemm_pack.h)
//     columns   A transposed: a[step * strideA + row], mostly a copy ("staged")

/// How far ahead B is prefetched. Packed B comes from the L2 or L3 cache, and 32 steps are 450 cycles of full tiles where
/// two multiply-adds start in a cycle. The caller's own B comes from memory when few rows read it once; when many rows
/// share it, from the L2 cache, and its rows, far apart, would push each other out of the L1 cache if more were on the way.
constexpr int64_t kPrefetchSteps = 32;
constexpr int64_t kPrefetchStepsFewRows = 64;
constexpr int64_t kPrefetchStepsShared = 20;

/// All lanes equal. (x - 0 is x for every x, so the subtraction goes; x + 0 would not, because of -0.)
inline Vec broadcast(float value) { return value - Vec{}; }

/// tile[Rows][Vecs * kLanes], row stride kTileColumns: overwritten when `first`, else added to. B's step s is at
/// b + s * strideB, and is prefetched `prefetchSteps` steps before; packed B has strides of its own, unless kDirectB.
template <int Rows, int Vecs, bool kColumns, bool kDirectB>
void microkernel(int64_t steps, const float* __restrict a, int64_t strideA, const float* __restrict b, int64_t strideB,
                 int64_t prefetchSteps, float* __restrict tile, bool first) {
  Vec acc[Rows][Vecs];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < Vecs; ++j) acc[i][j] = Vec{};

  // Every third row has a pointer: x86 addresses the two after it as pointer + stride and pointer + 2 stride.
  constexpr int kRowPointers = (Rows + 2) / 3;
  const float* rows[kRowPointers];
  for (int i = 0; i < kRowPointers; ++i) rows[i] = a + 3 * i * strideA;

  // Past the end of a packed panel lies the next one, which comes next.
  if constexpr (!kDirectB) {
    strideB = kTileColumns;
    prefetchSteps = kPrefetchSteps;
  }
  const int64_t prefetchDistance = prefetchSteps * strideB;

#pragma GCC unroll 4
  for (int64_t s = 0; s < steps; ++s) {
    const float* ahead = b + prefetchDistance;
    for (int j = 0; j < Vecs * kLanes; j += 16) __builtin_prefetch(ahead + j);
    if constexpr (kDirectB) __builtin_prefetch(ahead + Vecs * kLanes - 1);
    Vec row[Vecs];
#pragma GCC unroll 16
    for (int j = 0; j < Vecs; ++j) row[j] = load(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vec x = broadcast(kColumns ? a[i] : rows[i / 3][i % 3 * strideA]);
#pragma GCC unroll 16
      for (int j = 0; j < Vecs; ++j) acc[i][j] += x * row[j];
    }
    if constexpr (kColumns)
      a += strideA;
    else
#pragma GCC unroll 8
      for (int i = 0; i < kRowPointers; ++i) ++rows[i];
    b += strideB;
  }

  // Sums of kMaxSteps products each: of positive products one chain over all of k is two to three times as far from float64.
  if (!first)
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 16
      for (int j = 0; j < Vecs; ++j) acc[i][j] += load(tile + i * kTileColumns + j * kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < Vecs; ++j) store(tile + i * kTileColumns + j * kLanes, acc[i][j]);
}

using Microkernel = void (*)(int64_t steps, const float* a, int64_t strideA, const float* b, int64_t strideB,
                             int64_t prefetchSteps, float* tile, bool first);

template <int Vecs, bool kColumns, bool kDirectB, int... row>
Microkernel microkernelOfRows(int64_t rows, std::integer_sequence<int, row...>) {
  static constexpr Microkernel table[] = {microkernel<row + 1, Vecs, kColumns, kDirectB>...};
  return table[rows - 1];
}

/// The micro-kernel for a tile of `rows` x `columns`, both at least 1.
template <bool kDirectB>
Microkernel microkernelFor(int64_t rows, int64_t columns, bool columnsOfA) {
  constexpr std::make_integer_sequence<int, kTileRows> all;
  if (columns <= kLanes)
    return columnsOfA ? microkernelOfRows<1, true, kDirectB>(rows, all)
                      : microkernelOfRows<1, false, kDirectB>(rows, all);
  return columnsOfA ? microkernelOfRows<2, true, kDirectB>(rows, all)
                    : microkernelOfRows<2, false, kDirectB>(rows, all);
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
