// The distance of a model's attention from a teacher's (HASTE, arXiv 2505.16792): for a query the cross-entropy of two softmaxes over keys,
//
//   S = q kᵀ / sqrt(d), P = softmax(S), of the model and, with its own q, k and d, of the teacher (P*)
//   loss = - sum over the keys of P* log P = lse(S) - sum of P* S
//   dS   = P - P*, which goes on to the model's q and k; the teacher has no gradient
//
// Neither P is ever in memory. Of both the first `aligned` heads are compared, head by head, and of the teacher's tokens the last T: class
// token and registers come before them, and its softmax is without those.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct AttentionAlignmentArgs {
  const float* qkv;      ///< [B, T, 3, H, d]
  const float* teacher;  ///< [B, skipped + T, 3, teacherHeads, teacherDim]
  int64_t batch, tokens, heads, headDim;
  int64_t skipped, teacherHeads, teacherDim;
  int64_t aligned;         ///< heads that are compared
  float queryWeight;       ///< of a query's loss in what the gradient is of
  const StepState* state;  ///< its loss scale multiplies the gradient; null: none does
  float* loss;             ///< [B]: the mean over heads and queries
  float* gradient;         ///< [B, T, 3, H, d]: queries and keys of the aligned heads are written, the rest is left alone; null: not wanted
  float* scratch;          ///< scratchFloats floats
};

struct AttentionAlignmentKernels {
  /// Floats of scratch for a pool of `threads` threads; of the args only the sizes are read.
  int64_t (*scratchFloats)(const AttentionAlignmentArgs& args, int threads);
  void (*align)(ThreadPool& pool, const AttentionAlignmentArgs& args);
};

REPA_CPU_KERNELS(AttentionAlignmentKernels, attentionAlignmentKernels);

}  // namespace repa::cpu
