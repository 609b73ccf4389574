// The CUDA kernels of ops/attention_alignment.h. Arguments were checked there.
#pragma once

#include "core/dtype.h"
#include "cpu/attention_alignment.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// Of the args only the sizes are read.
int64_t attentionAlignmentScratchFloats(const cpu::AttentionAlignmentArgs& args);

/// The pointers to activations and gradients are to elements of `dtype`.
void attentionAlignment(cudaStream_t stream, const cpu::AttentionAlignmentArgs& args, DType dtype);

}  // namespace repa::cuda
