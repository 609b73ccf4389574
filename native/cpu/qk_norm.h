// qk-norm: LayerNorm over headDim, with affine weight and bias, or RMSNorm with a weight, of every query and every key of a packed qkv.
//
//   q' = (q - mean(q)) * rstd(q) * qWeight + qBias     rstd = 1 / sqrt(var + eps), var the biased variance over d
//   k' = the same with kWeight, kBias                  v' = v
//
// RMSNorm (not centred) takes no mean off, which is 0, and has no biases.
//
// qkv [B, T, 3, H, d]. mean and rstd [B, T, 2, H], queries' before keys'. Samples and tokens play no part, so the
// kernels know only rows = B * T.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct QkNormForwardArgs {
  const float* qkv;      // [rows, 3, H, d]
  const float* qWeight;  // [d]
  const float* qBias;    // [d]; null: none
  const float* kWeight;  // [d]
  const float* kBias;    // [d]; null: none
  float* normed;         // [rows, 3, H, d], overwritten; must not overlap qkv
  float* mean;           // [rows, 2, H], for backward; mean and rstd are null when there will be none
  float* rstd;           // [rows, 2, H]
  int64_t rows;
  int64_t heads;
  int64_t headDim;
  bool centred;
  float eps;
};

struct QkNormBackwardArgs {
  const float* qkv;      // [rows, 3, H, d], forward's input
  const float* qWeight;  // [d]
  const float* kWeight;  // [d]
  const float* mean;     // [rows, 2, H], from forward
  const float* rstd;     // [rows, 2, H], from forward
  const float* dNormed;  // [rows, 3, H, d]
  float* dqkv;           // [rows, 3, H, d], overwritten; must not overlap the inputs
  float* dqWeight;       // [d]
  float* dqBias;         // [d]; null: not wanted
  float* dkWeight;       // [d]
  float* dkBias;         // [d]; null: not wanted
  bool accumulate;       // the four parameter gradients are added to what is there; otherwise overwritten
  int64_t rows;
  int64_t heads;
  int64_t headDim;
  bool centred;
  float* scratch;  // backwardScratchFloats floats
};

struct QkNormKernels {
  void (*forward)(ThreadPool& pool, const QkNormForwardArgs& args);

  /// Floats of scratch for a pool of `threads` threads; of the args only the sizes are read.
  int64_t (*backwardScratchFloats)(const QkNormBackwardArgs& args, int threads);
  void (*backward)(ThreadPool& pool, const QkNormBackwardArgs& args);
};

REPA_CPU_KERNELS(QkNormKernels, qkNormKernels);

}  // namespace repa::cpu
