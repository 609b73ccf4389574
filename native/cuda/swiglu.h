// The CUDA kernels of SwiGLU and its gradient (ops/activation.h). Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// x [..., 2 h] = x1 | x2 -> silu(x1) x2 [..., h], of one dtype.
void swiGLU(cudaStream_t stream, const Tensor& x, const Tensor& out);
/// dX = (dOut x2 silu'(x1) | dOut silu(x1)), all of one dtype.
void swiGLUBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& dX);

}  // namespace repa::cuda
