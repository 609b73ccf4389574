// The CUDA kernel of ops/smooth_l1.h. Arguments were checked there.
#pragma once

#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `elementWeight`: of one element's loss in the caller's total. `state` and `gradient` may be null.
void smoothL1Loss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float beta, float elementWeight, const StepState* state,
                  const Tensor& loss, const Tensor* gradient);

}  // namespace repa::cuda
