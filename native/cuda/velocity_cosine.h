// The CUDA kernel of ops/velocity_cosine.h. Arguments were checked there.
#pragma once

#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `pixelWeight`: of one pixel's loss in the caller's total. `state` and `gradient` may be null.
void velocityCosineLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float pixelWeight, const StepState* state,
                        const Tensor& loss, const Tensor* gradient);

}  // namespace repa::cuda
