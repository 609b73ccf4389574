// The CUDA kernel of ops/hybrid_loss.h. Arguments were checked there.
#pragma once

#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `state` and `gradient` may be null.
void hybridLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, const Tensor& x0, const Tensor& t, const Tensor& table,
                double mseWeight, double vbWeight, bool throughMean, const StepState* state, const Tensor& mse, const Tensor& vb,
                const Tensor* gradient);

}  // namespace repa::cuda
