// Shapes that differ in their last axis.
#pragma once

#include "core/shape.h"

namespace repa::ops {

/// `shape` with another last axis.
inline Shape withLastAxis(const Shape& shape, int64_t size) {
  Shape out;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) out.append(shape[axis]);
  out.append(size);
  return out;
}

}  // namespace repa::ops
