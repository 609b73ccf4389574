// Resampling as torch.nn.functional.interpolate(align_corners=False) does it.
#pragma once

#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// x [N, h, w, C] -> [N, outHeight, outWidth, C]; planes [N, C, h, w] are [N·C, h, w, 1]. filter "bilinear" or "bicubic"
/// (a = -0.75; with antialias -0.5). scaleHeight, scaleWidth: input pixels per output pixel; 0: from the two sizes. As in
/// torch, they are rounded to float32.
Tensor resize(const Tensor& x, int64_t outHeight, int64_t outWidth, const std::string& filter, bool antialias, double scaleHeight, double scaleWidth);

}  // namespace repa::ops
