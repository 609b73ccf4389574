// The CUDA kernels of ops/embedding.h. Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void timestepEmbedding(cudaStream_t stream, const Tensor& t, double maxPeriod, const Tensor& out);
void fourierFeatures(cudaStream_t stream, const Tensor& t, const Tensor& frequencies, const Tensor& out);
void embedding(cudaStream_t stream, const Tensor& table, const Tensor& ids, const Tensor& out);
void embeddingBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& ids, const Tensor& dTable, bool accumulate);

}  // namespace repa::cuda
