// Resampling of images and of position tables, as torch.nn.functional.interpolate(align_corners=False) does it.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

enum class ResizeFilter {
  bilinear,
  bicubic,  ///< Keys' cubic convolution with a = -0.75, or a = -0.5 with antialias (torch has this difference)
};

struct ResizeArgs {
  const float* input;  ///< [count, inputHeight, inputWidth, channels]
  float* output;       ///< [count, outputHeight, outputWidth, channels]
  int64_t count;       ///< images, or planes of images
  int64_t inputHeight, inputWidth, outputHeight, outputWidth;
  int64_t channels;  ///< innermost: 1 for planes ([N, C, H, W] is count = N * C), D of a [1, H, W, D] position table
  ResizeFilter filter;
  bool antialias;  ///< widen the filter by the scale when shrinking
  /// Input pixels per output pixel: inputHeight / outputHeight when the call gave an output size; 1 / scale_factor when
  /// it gave scale factors (DINOv2's interpolation of its table does: (h + 0.1) / M), which moves the sample points.
  double scaleHeight, scaleWidth;
  float* scratch;
};

struct ResizeKernels {
  void (*resize)(ThreadPool& pool, const ResizeArgs& args);
  int64_t (*resizeScratchFloats)(const ResizeArgs& args, int threads);
};

REPA_CPU_KERNELS(ResizeKernels, resizeKernels);

}  // namespace repa::cpu
