// Joins tensors along their last axis, as torch.cat(parts, -1). Forward only.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// parts [..., C_i] f32, alike in all other axes -> [..., Σ C_i].
Tensor concatenate(const std::vector<Tensor>& parts);

}  // namespace repa::ops
