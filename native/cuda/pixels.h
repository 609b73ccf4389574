// The CUDA kernels between 8-bit images and float tensors (ops/pixels.h). Arguments were checked there.
#pragma once

#include "core/tensor.h"
#include "cpu/pixels.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// The arguments' pointers are the device's.
void normalizeImages(cudaStream_t stream, const cpu::NormalizeImagesArgs& args);
void toUint8(cudaStream_t stream, const cpu::ToUint8Args& args);

}  // namespace repa::cuda
