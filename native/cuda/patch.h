// The CUDA kernels between images and rows of patches (ops/patch.h). Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// How a patch's elements are ordered (cpu/patch.h).
enum class PatchOrder { channelFirst, channelLast };

/// image f32 [B, C, H, W] -> patches of any dtype of computation, [B, T, C p p]; rows of more elements end in zeros.
void imageToPatches(cudaStream_t stream, const Tensor& image, int64_t patch, PatchOrder order, const Tensor& patches);
/// The way back.
void patchesToImage(cudaStream_t stream, const Tensor& patches, int64_t patch, PatchOrder order, const Tensor& image);

}  // namespace repa::cuda
