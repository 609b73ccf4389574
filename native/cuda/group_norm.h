// The CUDA kernels of ops/group_norm.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cpu/conv2d.h"
#include "cpu/group_norm.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// What `scratch` must hold: the moments of parts of the pixels.
int64_t groupNormScratchFloats(const cpu::GroupNormCoefficientsArgs& args);

/// x may be of any compute dtype; the other pointers are in `args`.
void groupNormCoefficients(cudaStream_t stream, const cpu::GroupNormCoefficientsArgs& args, const Tensor& x);

/// out = activation(x scale + shift): x and out [N, ..., C] of any compute dtypes. coefficients [N, 2, C], or null: only converts.
void scaleShift(cudaStream_t stream, const Tensor& x, const float* coefficients, cpu::ConvActivation activation, const Tensor& out);

}  // namespace repa::cuda
