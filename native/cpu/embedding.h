// What becomes of a sample's time and label before they condition the blocks.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[b] = [cos(t_b f_0), ..., cos(t_b f_{h-1}), sin(t_b f_0), ..., sin(t_b f_{h-1})], f_i = maxPeriod^(-i/h),
/// h = dim / 2 rounded down, and a zero behind them when dim is odd. DiT's TimestepEmbedder.timestep_embedding, rounded
/// to float32 where it rounds.
struct TimestepEmbeddingArgs {
  int64_t batch, dim;
  double maxPeriod;
  /// [batch].
  const float* t;
  /// [batch, dim].
  float* out;
};

/// out[b] = [sin(2 pi t_b f_0), ..., cos(2 pi t_b f_0), ...], rounded to float32 where torch rounds t f 2 pi.
struct FourierFeaturesArgs {
  int64_t batch, count;
  /// [batch].
  const float* t;
  /// [count].
  const float* frequencies;
  /// [batch, 2 count].
  float* out;
};

/// out[i] = table[ids[i]]. An id outside [0, rows) gives a row of NaN and reads nothing.
struct EmbeddingArgs {
  int64_t count, rows, width;
  /// [rows, width].
  const float* table;
  /// [count].
  const int32_t* ids;
  /// [count, width].
  float* out;
};

/// dTable[r] = sum of dOut[i] over the i whose id is r, added in the order of i. Ids outside [0, rows) add nothing.
struct EmbeddingBackwardArgs {
  int64_t count, rows, width;
  /// [count].
  const int32_t* ids;
  /// [count, width].
  const float* dOut;
  /// [rows, width].
  float* dTable;
  /// Add to dTable instead of overwriting it.
  bool accumulate;
};

struct EmbeddingKernels {
  void (*timestepEmbedding)(ThreadPool&, const TimestepEmbeddingArgs&);
  void (*fourierFeatures)(ThreadPool&, const FourierFeaturesArgs&);
  void (*lookup)(ThreadPool&, const EmbeddingArgs&);
  void (*lookupBackward)(ThreadPool&, const EmbeddingBackwardArgs&);
};

REPA_CPU_KERNELS(EmbeddingKernels, embeddingKernels);

}  // namespace repa::cpu
