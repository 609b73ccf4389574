// C = op(A) B or C += op(A) B for k so short that the traffic of C is the cost: adaLN's weight gradient (k = batch) and
// the final layer's input gradient (k = 16). Nothing is packed: B's few rows stay in the L1 cache, and C is visited
// once, row by row. Every sum runs in the order of gemm.cpp's micro-kernel and so has its bits.
#pragma once

#include "core/divide_up.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_pack.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kShortK = 16;

inline bool isShortK(const GemmArgs& args) {
  return args.k <= kShortK && args.m > kFewRows && args.packedB == nullptr && !args.transB &&
         args.epilogue.kind == GemmEpilogueKind::none;
}

/// Vecs * kLanes columns from `column`, the last of them `count` lanes, of rows [row, row + Rows) of C. Eight sums at a time
/// keep both multiply-add units busy while each waits for its own last step.
template <int Rows, int Vecs>
inline void shortKBlock(const GemmArgs& args, int64_t row, int64_t column, int count) {
  const float* a = args.a + (args.transA ? row : row * args.lda);
  const int64_t rowStride = args.transA ? 1 : args.lda;
  const int64_t stepStride = args.transA ? args.lda : 1;
  const auto lanesOf = [&](int v) { return v + 1 == Vecs ? count : kLanes; };
  // C comes from memory: start on the same place two row groups on.
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vecs; ++v)
      __builtin_prefetch(args.c + (row + 2 * Rows + i) * args.ldc + column + v * kLanes, 1);
  Vec acc[Rows][Vecs] = {};
  for (int64_t s = 0; s < args.k; ++s) {
    Vec b[Vecs];
#pragma GCC unroll 2
    for (int v = 0; v < Vecs; ++v) b[v] = loadLanes(args.b + s * args.ldb + column + v * kLanes, lanesOf(v));
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec x = broadcast(a[i * rowStride + s * stepStride]);
#pragma GCC unroll 2
      for (int v = 0; v < Vecs; ++v) acc[i][v] += x * b[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vecs; ++v) {
      float* c = args.c + (row + i) * args.ldc + column + v * kLanes;
      storeLanes(c, args.accumulate ? acc[i][v] + loadLanes(c, lanesOf(v)) : acc[i][v], lanesOf(v));
    }
}

/// Rows [row, row + Rows) of C.
template <int Rows>
void shortKRows(const GemmArgs& args, int64_t row) {
  int64_t column = 0;
  for (; column + 2 * kLanes <= args.n; column += 2 * kLanes) shortKBlock<Rows, 2>(args, row, column, kLanes);
  for (; column < args.n; column += kLanes)
    shortKBlock<Rows, 1>(args, row, column, static_cast<int>(least(kLanes, args.n - column)));
}

void gemmShortK(ThreadPool& pool, const GemmArgs& args) {
  constexpr int kRows = 4;
  constexpr int64_t kChunkFloats = int64_t{64} << 10;
  const int64_t rowsPerChunk = most(1, kChunkFloats / (args.n * kRows)) * kRows;
  pool.parallelFor(divideUp(args.m, rowsPerChunk), [&](int64_t chunk, int) {
    const int64_t end = least(args.m, (chunk + 1) * rowsPerChunk);
    int64_t row = chunk * rowsPerChunk;
    for (; row + kRows <= end; row += kRows) shortKRows<kRows>(args, row);
    for (; row < end; ++row) shortKRows<1>(args, row);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
