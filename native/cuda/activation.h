// The CUDA kernels of activation and its gradient (ops/activation.h). Arguments were checked there.
#pragma once

#include "core/activation.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// out = f(x); x and out of one dtype. `function` is not none.
void activation(cudaStream_t stream, const Tensor& x, Activation function, const Tensor& out);
/// dX = dOut f'(x), all of one dtype.
void activationBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, Activation function, const Tensor& dX);

}  // namespace repa::cuda
