// C = op(A) B or C += op(A) B for k so short that the traffic of C is the cost: adaLN's weight gradient (k = batch) and
// the final layer's input gradient (k = 16). Nothing is packed: B's few rows stay in the L1 cache, and C is visited
// once, row by row. Every sum runs in the order of gemm.cpp's micro-kernel and so has its bits.
#pragma once

#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_pack.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kShortK = 16;

inline bool isShortK(const GemmArgs& args) {
  return args.k <= kShortK && args.m > kFewRows && args.packedB == nullptr && !args.transB &&
         args.epilogue.kind == GemmEpilogueKind::none;
}

/// Rows [row, row + Rows) of C.
template <int Rows>
void shortKRows(const GemmArgs& args, int64_t row) {
  const float* a = args.a + (args.transA ? row : row * args.lda);
  const int64_t rowStride = args.transA ? 1 : args.lda;
  const int64_t stepStride = args.transA ? args.lda : 1;
  for (int64_t j = 0; j < args.n; j += kLanes) {
    const int count = static_cast<int>(least(kLanes, args.n - j));
    // C comes from memory: start on the same place two row groups on.
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) __builtin_prefetch(args.c + (row + 2 * Rows + i) * args.ldc + j, 1);
    Vec acc[Rows] = {};
    for (int64_t s = 0; s < args.k; ++s) {
      const Vec b = loadLanes(args.b + s * args.ldb + j, count);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) acc[i] += broadcast(a[i * rowStride + s * stepStride]) * b;
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      float* c = args.c + (row + i) * args.ldc + j;
      storeLanes(c, args.accumulate ? acc[i] + loadLanes(c, count) : acc[i], count);
    }
  }
}

void gemmShortK(ThreadPool& pool, const GemmArgs& args) {
  constexpr int kRows = 4;
  constexpr int64_t kChunkFloats = int64_t{64} << 10;
  const int64_t rowsPerChunk = most(1, kChunkFloats / (args.n * kRows)) * kRows;
  pool.parallelFor(ceilDiv(args.m, rowsPerChunk), [&](int64_t chunk, int) {
    const int64_t end = least(args.m, (chunk + 1) * rowsPerChunk);
    int64_t row = chunk * rowsPerChunk;
    for (; row + kRows <= end; row += kRows) shortKRows<kRows>(args, row);
    for (; row < end; ++row) shortKRows<1>(args, row);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
