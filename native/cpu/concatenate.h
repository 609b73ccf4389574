// Joins tensors along their last axis: the branches of an Inception block, channels last.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// One part into its columns of the whole.
struct ConcatenateArgs {
  const float* part;  ///< [rows, width]
  float* out;         ///< [rows, outWidth], the first column of the part's place
  int64_t rows, width, outWidth;
};

struct ConcatenateKernels {
  void (*concatenate)(ThreadPool& pool, const ConcatenateArgs& args);
};

REPA_CPU_KERNELS(ConcatenateKernels, concatenateKernels);

}  // namespace repa::cpu
