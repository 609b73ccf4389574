// Between 8-bit images and float tensors.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = (x / divisor - mean[c]) / std[c], in float32 and in this order.
/// Encoders take divisor 255 with ImageNet's or CLIP's mean and std; an autoencoder x / 127.5 - 1: mean 1, std 1.
struct NormalizeImagesArgs {
  const uint8_t* images;  ///< [batch, 3, pixels]
  float* out;             ///< [batch, 3, pixels]
  int64_t batch, pixels;  ///< pixels: height * width
  float divisor;
  float mean[3], std[3];
};

/// out = trunc(clamp((x + shift) * scale + offset, 0, 255)), NaN to 0, each operation rounded in x's own precision, channels moved last.
/// REPA writes (x + 1) / 2 * 255: shift 1, scale 127.5, offset 0 (the same float, as halving is exact).
/// SiT and DiT write 127.5 x + 128: shift 0, scale 127.5, offset 128.
struct ToUint8Args {
  const void* images;               ///< [batch, channels, pixels], float or double
  bool isDouble;                    ///< images are double
  uint8_t* out;                     ///< [batch, pixels, channels]
  int64_t batch, channels, pixels;  ///< pixels: height * width
  double shift, scale, offset;
};

struct PixelsKernels {
  void (*normalizeImages)(ThreadPool& pool, const NormalizeImagesArgs& args);
  void (*toUint8)(ThreadPool& pool, const ToUint8Args& args);
};

REPA_CPU_KERNELS(PixelsKernels, pixelsKernels);

}  // namespace repa::cpu
