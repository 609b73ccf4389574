// How an image falls into patches.
#pragma once

#include "ops/require.h"

namespace repa::ops {

/// Throws unless patches of this side cover an image of height x width.
inline void requirePatches(const char* op, int64_t height, int64_t width, int64_t patch) {
  require(patch >= 1 && height % patch == 0 && width % patch == 0, op,
          "a patch of " + std::to_string(patch) + " does not divide an image of " + std::to_string(height) + " x " + std::to_string(width) + ".");
}

/// Elements of a patch. Throws where they are more than a shape may count: the image may be empty, and its patches as large as one likes.
inline int64_t patchElements(const char* op, int64_t channels, int64_t patch) {
  int64_t elements = 0;
  const bool overflows = __builtin_mul_overflow(patch, patch, &elements) || __builtin_mul_overflow(elements, channels, &elements);
  require(!overflows && elements <= Shape::kMostElements, op,
          "a patch of " + std::to_string(patch) + " x " + std::to_string(patch) + " of " + std::to_string(channels) + " channels has more than 2^48 elements.");
  return elements;
}

}  // namespace repa::ops
