// Sizes of grids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace repa::cuda {

/// How many blocks of a grid cover `count` things, `perBlock` to a block. Throws where a grid cannot have so many.
inline unsigned blocksFor(int64_t count, int64_t perBlock) {
  const int64_t blocks = (count + perBlock - 1) / perBlock;
  if (blocks >= int64_t{1} << 31)
    throw Error(ErrorCode::shape, "a grid of " + std::to_string(blocks) + " blocks was asked for; CUDA takes fewer than 2^31.");
  return static_cast<unsigned>(blocks);
}

/// Blocks along a grid's y or z, which are few, for so many things that blocks walk over with the grid's stride.
inline unsigned walkingBlocks(int64_t count) { return static_cast<unsigned>(std::min<int64_t>(count, 65535)); }

/// As blocksFor, along a grid's y or z, of which `what` and `advice` are said where there are too many.
inline unsigned blocksAcross(int64_t count, int64_t perBlock, const char* what, const char* advice) {
  constexpr int64_t kMost = 65535;
  if (count > kMost * perBlock)
    throw Error(ErrorCode::shape, std::to_string(count) + " " + what + " were asked for; a GPU's kernel takes at most " +
                                      std::to_string(kMost * perBlock) + ". " + advice);
  return blocksFor(count, perBlock);
}

}  // namespace repa::cuda
