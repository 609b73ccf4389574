// The CUDA kernels of ops/random.h. Arguments were checked there.
#pragma once

#include "core/philox.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// offset + factor times uniform or normal number first + i.
void fillUniform(cudaStream_t stream, const Tensor& out, double offset, double factor, const RandomPosition& position, int64_t first);
void fillNormal(cudaStream_t stream, const Tensor& out, double offset, double factor, const RandomPosition& position, int64_t first);
void fillTimesteps(cudaStream_t stream, const Tensor& out, bool lognormal, bool cosinePath, double shift, const RandomPosition& position,
                   int64_t first);
void fillIntegers(cudaStream_t stream, const Tensor& out, int32_t low, int64_t count, const RandomPosition& position, int64_t first);
void dropLabels(cudaStream_t stream, const Tensor& labels, double probability, int32_t nullClass, const RandomPosition& position,
                int64_t first, const Tensor& out);
void drawTokens(cudaStream_t stream, const Tensor& ids, const Tensor& places, const RandomPosition& position, int64_t first);

}  // namespace repa::cuda
