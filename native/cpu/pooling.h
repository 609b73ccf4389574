// Pooling over windows of pixels, channels last.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

enum class PoolKind {
  max,
  average,                ///< over the pixels of the window that are there (count_include_pad = false)
  averageIncludingZeros,  ///< over the window, the zeros of the padding included (torch's default)
};

struct PoolArgs {
  const float* x;  ///< [batch, height, width, channels]
  int64_t batch, height, width, channels;
  PoolKind kind;
  int64_t kernelHeight, kernelWidth, strideHeight, strideWidth;
  int64_t padTop, padLeft;
  int64_t paddedHeight, paddedWidth;  ///< the image with its padding on all sides
  int64_t outHeight, outWidth;
  float* out;  ///< [batch, outHeight, outWidth, channels]
};

struct PoolKernels {
  void (*pool2d)(ThreadPool& pool, const PoolArgs& args);
};

REPA_CPU_KERNELS(PoolKernels, poolKernels);

}  // namespace repa::cpu
