// The CUDA kernels of ops/contrast.h. Arguments were checked there; cpu/contrast.h has the formulas.
#pragma once

#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void l2Normalize(cudaStream_t stream, const Tensor& x, const Tensor& unit, const Tensor& norms);
void l2NormalizeBackward(cudaStream_t stream, const Tensor& dUnit, const Tensor& unit, const Tensor& norms, const Tensor& dX);
/// `rowWeight`: of one row's loss in the caller's total. `state` and `dLogits` may be null.
void crossEntropyLoss(cudaStream_t stream, const Tensor& logits, float scale, float rowWeight, const StepState* state, const Tensor& loss,
                      const Tensor* dLogits);
int64_t squaredDistancesScratchFloats(int64_t batch, int64_t size);
void squaredDistances(cudaStream_t stream, const Tensor& x, const Tensor& distances, const Tensor& partial);
/// `state` and `pull` may be null; `rowSums` [B] is scratch.
void dispersiveLoss(cudaStream_t stream, const Tensor& distances, float scale, float weight, const StepState* state, const Tensor& loss,
                    const Tensor* pull, double* rowSums);

}  // namespace repa::cuda
