// Pooling of channels-last images, as torch.nn.functional's max_pool2d and avg_pool2d without ceil_mode. Forward only.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// x [N, H, W, C] f32 -> [N, H', W', C]. kind: "max" (the padding is no candidate), "average" (over the pixels that are there:
/// count_include_pad = false) or "average-including-zeros" (torch's default). kernel, stride: rows, columns; padding: above, below,
/// left, right, each less than the kernel.
Tensor pool2d(const Tensor& x, const std::string& kind, const std::vector<double>& kernel, const std::vector<double>& stride, const std::vector<double>& padding);

}  // namespace repa::ops
