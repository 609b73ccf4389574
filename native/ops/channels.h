// Shapes [B, C, ...] with other numbers of channels.
#pragma once

#include "core/shape.h"

namespace repa::ops {

inline Shape withChannels(const Shape& shape, int64_t channels) {
  Shape out;
  for (int axis = 0; axis < shape.rank(); ++axis) out.append(axis == 1 ? channels : shape[axis]);
  return out;
}

}  // namespace repa::ops
