// The CUDA kernels of ops/diffusion.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cpu/diffusion.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// `y` may be null.
void combineSamples(cudaStream_t stream, const Tensor& x, const Tensor* y, const Tensor& rows, const Tensor& coefficients, const Tensor& out);
/// `noise` may be null; `hasV`: the prediction has v behind it.
void denoisingStep(cudaStream_t stream, const Tensor& x, const Tensor& prediction, const Tensor* noise,
                   const cpu::DenoisingStepCoefficients& coefficients, bool clip, bool hasV, const Tensor& out);
/// `guided` of a sample's `size` numbers.
void guide(cudaStream_t stream, const Tensor& prediction, float scale, int64_t size, int64_t guided, const Tensor& out);
void resizeChannels(cudaStream_t stream, const Tensor& x, int64_t fromSize, const Tensor& out, int64_t toSize);

}  // namespace repa::cuda
