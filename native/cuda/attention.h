// The CUDA kernels of ops/attention.h's attention. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/staging.h"

namespace repa::cuda {

/// qkv [B, T, 3 H d] -> o [B, T, H d] and, where it is defined, lse [B, H, T].
void attention(cudaStream_t stream, const Tensor& qkv, int64_t heads, const Tensor& o, const Tensor& lse);

/// Floats of scratch that attentionBackward wants.
int64_t attentionBackwardScratchFloats(const Tensor& qkv, int64_t heads);

/// dqkv [B, T, 3 H d].
void attentionBackward(cudaStream_t stream, const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads,
                       float* scratch, const Tensor& dqkv);

}  // namespace repa::cuda
