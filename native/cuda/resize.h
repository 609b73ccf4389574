// The CUDA kernels of ops/resize.h. Arguments were checked there.
#pragma once

#include "cpu/resize.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// What `scratch` must hold: the tables of weights of the two axes.
int64_t resizeScratchFloats(const cpu::ResizeArgs& args);

/// The arguments' pointers are the device's.
void resize(cudaStream_t stream, const cpu::ResizeArgs& args);

}  // namespace repa::cuda
