// Sizes of grids.
#pragma once

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

}  // namespace repa::cuda
