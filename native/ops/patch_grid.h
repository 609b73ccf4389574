// How an image falls into patches.
#pragma once

#include "ops/require.h"

namespace repa::ops {

/// Throws unless patches of this side cover an image of height x width.
inline void requirePatches(const char* op, int64_t height, int64_t width, int64_t patch) {
  require(patch >= 1 && height % patch == 0 && width % patch == 0, op,
          "a patch of " + std::to_string(patch) + " does not divide an image of " + std::to_string(height) + " x " + std::to_string(width) + ".");
}

}  // namespace repa::ops
