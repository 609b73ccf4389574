// The CUDA kernels of ops/conv2d.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cpu/conv2d.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `args` has the sizes and the f32 operands; x, weight and out have dtypes of their own.
void conv2d(cudaStream_t stream, const cpu::Conv2dArgs& args, const Tensor& x, const Tensor& weight, const Tensor& out);

}  // namespace repa::cuda
