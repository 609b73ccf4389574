// 2-D convolution, forward, channels last, as an implicit GEMM with a fused epilogue.
//
// Channels last, because then a row of the im2col matrix is kernelHeight runs of memory: the pixels under one kernel row lie one
// behind the other, and the pixel to the right is the same run shifted by C. So the GEMM's micro-kernel reads the image itself,
// with C (times the stride) as the distance of A's rows, and no im2col matrix is ever made.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

enum class ConvActivation { none, silu, relu };

struct Conv2dArgs {
  const float* x;  ///< [batch, height, width, channels]
  int64_t batch, height, width, channels;
  /// The convolution sees every pixel upsample x upsample times: nearest-neighbour interpolation, never stored.
  int64_t upsample;
  /// Null, or [batch, 2, channels]: what is convolved is inputActivation(x * scale + shift), scale and shift of a sample's
  /// channel (group_norm.h makes them), and zeros in the padding.
  const float* coefficients;
  ConvActivation inputActivation;
  const float* weight;  ///< [outChannels, kernelHeight, kernelWidth, channels]
  int64_t outChannels, kernelHeight, kernelWidth;
  int64_t strideHeight, strideWidth;
  /// Zeros above and to the left; those below and to the right follow from the output's size.
  int64_t padTop, padLeft;
  int64_t outHeight, outWidth;
  const float* bias;      ///< [outChannels], or null
  const float* residual;  ///< null, or of out's shape (it may be out): added before the activation, which is then none or relu
  ConvActivation activation;
  float* out;  ///< [batch, outHeight, outWidth, outChannels]
  /// conv2dScratchFloats(args, pool.threads()) floats, aligned to 64 bytes.
  float* scratch;
};

struct Conv2dKernels {
  void (*conv2d)(ThreadPool& pool, const Conv2dArgs& args);
  /// Depends on the sizes alone: the packed weight, and for every thread the pixels under one tile of the output and its sums.
  int64_t (*conv2dScratchFloats)(const Conv2dArgs& args, int threads);
};

REPA_CPU_KERNELS(Conv2dKernels, conv2dKernels);

}  // namespace repa::cpu
