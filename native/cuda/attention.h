// The CUDA kernels of ops/attention.h's attention. Arguments were checked there.
#pragma once

#include <optional>

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// qkv [B, T, 3 H d] -> o [B, T, H d] and, where it is defined, lse [B, H, T]. Causal: a token sees those up to itself.
void attention(cudaStream_t stream, const Tensor& qkv, int64_t heads, bool causal, const Tensor& o, const Tensor& lse);

/// Whether attentionBackward sums dqkv's columns: not in f32.
bool attentionBackwardSums(const Tensor& qkv);

/// Floats of scratch that attentionBackward wants.
int64_t attentionBackwardScratchFloats(const Tensor& qkv, int64_t heads, bool sums);

/// dqkv [B, T, 3 H d]. dBias [3 H d] gets, or with `accumulate` is increased by, the sums of its columns, before they are rounded.
void attentionBackward(cudaStream_t stream, const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads,
                       float* scratch, const Tensor& dqkv, const std::optional<Tensor>& dBias, bool accumulate);

}  // namespace repa::cuda
