// Between 8-bit images and float tensors, and the built-in encoder's descriptors.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// u8 [B, 3, H, W] -> (x / divisor - mean[c]) / std[c], f32 of the same shape.
Tensor normalizeImages(const Tensor& images, double divisor, const std::vector<double>& mean, const std::vector<double>& std);

/// f32 or f64 [B, C, H, W] -> trunc(clamp((x + shift) · scale + offset, 0, 255)), u8 [B, H, W, C].
Tensor toUint8(const Tensor& images, double shift, double scale, double offset);

/// u8 [B, 3, H, W] -> descriptors [B, gridHeight·gridWidth, 128] (cpu/hog.h).
Tensor hog(const Tensor& images, int64_t gridHeight, int64_t gridWidth);

}  // namespace repa::ops
