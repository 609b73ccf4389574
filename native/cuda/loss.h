// The CUDA kernels of ops/loss.h. Arguments were checked there.
#pragma once

#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `tokenWeight`: of one token's -cos in the caller's total. `state` and `gradient` may be null; `tokenLosses` [B T] is scratch.
void cosineAlignmentLoss(cudaStream_t stream, const Tensor& projection, const Tensor& target, float tokenWeight, const StepState* state,
                         const Tensor& loss, const Tensor* gradient, const Tensor& tokenLosses);
/// `batchWeight`: of the mean of the losses over the batch in the caller's total. `state` and `gradient` may be null.
void velocityLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float batchWeight, const StepState* state,
                  const Tensor& loss, const Tensor* gradient);

}  // namespace repa::cuda
