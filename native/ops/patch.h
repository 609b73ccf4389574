// Between images [B, C, H, W] and rows of patches; H and W are multiples of the patch; images are f32. cpu/patch.h tells the two orders apart.
#pragma once

#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// [B, C, H, W] -> [B, T, C·p·p], elements (channel, py, px): the order of the patch embedding's weight [D, C, p, p].
/// The result has `dtype`.
Tensor patchify(const Tensor& image, int64_t patch, const std::string& dtype);
Tensor patchifyBackward(const Tensor& dPatches, int64_t channels, int64_t height, int64_t width, int64_t patch);

/// [B, T, p·p·C], elements (py, px, channel): the order of the final Linear's outputs -> [B, C, H, W].
Tensor unpatchify(const Tensor& tokens, int64_t channels, int64_t height, int64_t width, int64_t patch);
Tensor unpatchifyBackward(const Tensor& dImage, int64_t patch, const std::string& dtype);

}  // namespace repa::ops
