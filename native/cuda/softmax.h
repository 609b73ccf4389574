// The CUDA kernel of ops/softmax.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cpu/softmax.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// The result goes to `out`, of its dtype.
void softmax(cudaStream_t stream, const cpu::SoftmaxArgs& args, const Tensor& out);

}  // namespace repa::cuda
