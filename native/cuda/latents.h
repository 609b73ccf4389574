// The CUDA kernels of ops/latents.h. Arguments were checked there.
#pragma once

#include "cpu/latents.h"
#include "cuda/handles.h"

namespace repa::cuda {

void posteriorMoments(cudaStream_t stream, const cpu::PosteriorMomentsArgs& args);
void standardize(cudaStream_t stream, const cpu::StandardizeArgs& args);

}  // namespace repa::cuda
