// The CUDA kernels of ops/joined_tokens.h. Arguments were checked there.
#pragma once

#include "cpu/joined_tokens.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// The arguments' pointers are the device's; elements of 2 or 4 bytes.
void joinTokens(cudaStream_t stream, const cpu::JoinTokensArgs& args, int64_t elementBytes);
void splitTokens(cudaStream_t stream, const cpu::SplitTokensArgs& args, int64_t elementBytes);

}  // namespace repa::cuda
