// The CUDA kernels of ops/distillation.h. Arguments were checked there; their pointers are the device's.
#pragma once

#include "cpu/distillation.h"
#include "cuda/handles.h"

namespace repa::cuda {

void entropy(cudaStream_t stream, const cpu::EntropyArgs& args);
void distillationLoss(cudaStream_t stream, const cpu::DistillationLossArgs& args);

}  // namespace repa::cuda
