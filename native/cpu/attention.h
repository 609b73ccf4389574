// Multi-head self-attention on the qkv Linear's output as it stands: no split, no transpose, no N x N matrix in memory.
//
//   S = scale * q k^T     scale = headDim^(-1/2), every query sees every key, or, causal, those up to its own token's
//   P = softmax(S) over the keys
//   o = P v
//
// qkv [B, T, 3, H, d]: token t of sample b has its queries, keys and values of all heads side by side, so one row of
// qkv is 3 * H * d floats. o [B, T, H * d] is the input of the output Linear. B = batch, T = tokens, H = heads,
// d = headDim. All fp32 and contiguous; B, T and H any size, 1 <= d <= 128.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct AttentionForwardArgs {
  const float* qkv;  // [B, T, 3, H, d]
  float* o;          // [B, T, H * d], overwritten
  float* lse;        // [B, H, T]: log2 of the sum over the keys of e^S, for backward; null when there will be none
  int64_t batch;
  int64_t tokens;
  int64_t heads;
  int64_t headDim;
  float* scratch;  // forwardScratchFloats floats
};

struct AttentionBackwardArgs {
  const float* qkv;  // [B, T, 3, H, d], as in forward
  const float* o;    // [B, T, H * d], from forward
  const float* lse;  // [B, H, T], from forward
  const float* dO;   // [B, T, H * d]
  float* dqkv;       // [B, T, 3, H, d], overwritten
  int64_t batch;
  int64_t tokens;
  int64_t heads;
  int64_t headDim;
  float* scratch;  // backwardScratchFloats floats
};

struct AttentionKernels {
  /// Floats of scratch for a pool of `threads` threads; of the args only the sizes are read.
  int64_t (*forwardScratchFloats)(const AttentionForwardArgs& args, int threads);
  void (*forward)(ThreadPool& pool, const AttentionForwardArgs& args);
  /// Takes the same scratch.
  void (*causalForward)(ThreadPool& pool, const AttentionForwardArgs& args);

  int64_t (*backwardScratchFloats)(const AttentionBackwardArgs& args, int threads);
  void (*backward)(ThreadPool& pool, const AttentionBackwardArgs& args);
};

REPA_CPU_KERNELS(AttentionKernels, attentionKernels);

}  // namespace repa::cpu
