// The CUDA kernel of ops/rope.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// In place: queries and keys of qkv [B, T, 3 H d] are turned by cos and sin [T, d], or with `transposed` a gradient back.
void rotate(cudaStream_t stream, const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, bool transposed);

}  // namespace repa::cuda
