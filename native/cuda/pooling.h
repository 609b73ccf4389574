// The CUDA kernel of ops/pooling.h. Arguments were checked there.
#pragma once

#include "cpu/pooling.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// The arguments' pointers are the device's.
void pool2d(cudaStream_t stream, const cpu::PoolArgs& args);

}  // namespace repa::cuda
