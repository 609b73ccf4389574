// Softmax over the rows of a matrix: attention whose heads are wider than the fused kernels take.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = softmax(scale x) along every row; out may be x.
struct SoftmaxArgs {
  const float* x;  ///< [rows, columns]
  int64_t rows, columns;
  float scale;
  float* out;
};

struct SoftmaxKernels {
  void (*softmax)(ThreadPool& pool, const SoftmaxArgs& args);
};

REPA_CPU_KERNELS(SoftmaxKernels, softmaxKernels);

}  // namespace repa::cpu
