// The CUDA kernel of ops/concatenate.h. Arguments were checked there.
#pragma once

#include "cpu/concatenate.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// The arguments' pointers are the device's.
void concatenate(cudaStream_t stream, const cpu::ConcatenateArgs& args);

}  // namespace repa::cuda
