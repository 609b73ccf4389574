// The CUDA kernels of the built-in encoder (ops/pixels.h). Arguments were checked there.
#pragma once

#include "cpu/hog.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// What `scratch` must hold: the weights of the pixels in the cells, and the cells' averages.
int64_t hogScratchFloats(const cpu::HogArgs& args);

/// The arguments' pointers are the device's.
void hog(cudaStream_t stream, const cpu::HogArgs& args);

}  // namespace repa::cuda
