// Sizes of grids.
#pragma once

#include <cstdint>

#include "core/error_code.h"

namespace repa::cuda {

/// How many blocks of a grid cover `count` things, `perBlock` to a block. Throws where a grid cannot have so many.
inline unsigned blocksFor(int64_t count, int64_t perBlock) {
  const int64_t blocks = (count + perBlock - 1) / perBlock;
  if (blocks >= int64_t{1} << 31)
    throwError(ErrorCode::shape, "a grid of %lld blocks was asked for; CUDA takes fewer than 2^31.", static_cast<long long>(blocks));
  return static_cast<unsigned>(blocks);
}

/// What a grid may have along y or z.
constexpr unsigned kMostAcross = 65535;

/// Blocks along a grid's y or z, which are few, for so many things that blocks walk over with the grid's stride.
inline unsigned walkingBlocks(int64_t count) { return count < kMostAcross ? static_cast<unsigned>(count) : kMostAcross; }

/// As blocksFor, along a grid's y or z, of which `what` and `advice` are said where there are too many.
inline unsigned blocksAcross(int64_t count, int64_t perBlock, const char* what, const char* advice) {
  const int64_t most = kMostAcross * perBlock;
  if (count > most)
    throwError(ErrorCode::shape, "%lld %s were asked for; a GPU's kernel takes at most %lld. %s", static_cast<long long>(count), what,
               static_cast<long long>(most), advice);
  return blocksFor(count, perBlock);
}

}  // namespace repa::cuda
