// Sums. Every one is the same bits at every call and for any number of threads.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[c] = sum over rows of x[r, c]: a Linear's bias gradient. x is [rows, columns], row r at x + r * rowStride.
struct ColumnSumArgs {
  int64_t rows, columns;
  int64_t rowStride;
  const float* x;
  /// [columns].
  float* out;
  /// Add to out instead of overwriting it.
  bool accumulate;
  /// columnSumScratchFloats of them.
  float* scratch;
};

/// out = factor * sum of the `count` elements of x; a factor of 1 / count gives the mean. Summed in double.
struct SumArgs {
  int64_t count;
  const float* x;
  double factor;
  /// One element.
  float* out;
  /// sumScratchFloats of them, aligned to 8 bytes.
  float* scratch;
};

struct ReductionKernels {
  void (*columnSum)(ThreadPool&, const ColumnSumArgs&);
  int64_t (*columnSumScratchFloats)(const ColumnSumArgs&, int threads);
  void (*sum)(ThreadPool&, const SumArgs&);
  int64_t (*sumScratchFloats)(const SumArgs&, int threads);
};

REPA_CPU_KERNELS(ReductionKernels, reductionKernels);

}  // namespace repa::cpu
