// The CUDA kernels of ops/tokens.h. Arguments were checked there.
#pragma once

#include <optional>

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

void prependTokens(cudaStream_t stream, const Tensor& patches, const std::optional<Tensor>& patchPositions,
                   const std::optional<Tensor>& classToken, const std::optional<Tensor>& classPosition,
                   const std::optional<Tensor>& registers, const Tensor& out);
void dropTokens(cudaStream_t stream, const Tensor& x, int64_t first, const Tensor& out);
/// `fill` and `dFill` may be null.
void gatherTokens(cudaStream_t stream, const Tensor& x, const Tensor& ids, const Tensor* fill, const Tensor& out);
void gatherTokensBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& ids, const Tensor& dX, const Tensor* dFill);
/// `base` or `x` may be null.
void mergeTokens(cudaStream_t stream, const Tensor* base, const Tensor* x, const Tensor& places, const Tensor& out);

}  // namespace repa::cuda
