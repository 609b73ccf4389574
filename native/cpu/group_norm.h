// GroupNorm, channels last, in two steps: the statistics become a scale and a shift for every channel of a sample, and those are
// applied on the way to whatever reads the result: here, or where a convolution stages its pixels (conv2d.h). The normalised
// image need not exist.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// scale = weight / sqrt(var + epsilon), shift = bias - mean scale, mean and var over a group's channels and all pixels of a sample.
struct GroupNormCoefficientsArgs {
  const float* x;  ///< [batch, pixels, channels]
  int64_t batch, pixels, channels;
  int64_t groups;  ///< divides channels; a group is channels / groups neighbours
  const float* weight;  ///< [channels]
  const float* bias;    ///< [channels]
  double epsilon;
  float* coefficients;  ///< [batch, 2, channels]: scale, then shift
  float* scratch;       ///< scratchFloats(args) floats, aligned to 64 bytes
};

/// out = f(x scale + shift), f the identity or SiLU.
struct GroupNormApplyArgs {
  const float* x;             ///< [batch, pixels, channels]
  const float* coefficients;  ///< [batch, 2, channels]
  int64_t batch, pixels, channels;
  bool silu;
  float* out;  ///< may be x
};

struct GroupNormKernels {
  void (*coefficients)(ThreadPool& pool, const GroupNormCoefficientsArgs& args);
  int64_t (*scratchFloats)(const GroupNormCoefficientsArgs& args);
  void (*apply)(ThreadPool& pool, const GroupNormApplyArgs& args);
};

REPA_CPU_KERNELS(GroupNormKernels, groupNormKernels);

}  // namespace repa::cpu
