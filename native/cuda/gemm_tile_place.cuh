// The order in which blocks take the tiles of a launch.
#pragma once

#include "cuda/gemm_problem.h"
#include "cuda/kernel.h"

namespace repa::cuda {

/// A block's part of a launch.
struct TilePlace {
  int problem;
  int row, column;  // of tiles
  int split;
};

/// Tiles are taken in bands of so many rows of them, column by column within a band: with a band as high as wide, the blocks that run at
/// once cover a square part of C, whose rows of A and columns of B they share in the L2 cache. Where a launch has one problem, kMost says so.
template <int kBandRows, int kMost = GemmGroup::kMost>
__device__ __forceinline__ TilePlace tilePlace(const GemmGroup& group, int tile) {
  int problem = 0;
  while (problem + 1 < min(group.count, kMost) && tile >= group.problems[problem + 1].firstTile) ++problem;
  const GemmProblem& p = group.problems[problem];
  // Divided unsigned, and only where that is needed: a division is a long chain, and here each would wait for the one before.
  unsigned rest = static_cast<unsigned>(tile - p.firstTile);
  const unsigned rows = static_cast<unsigned>(p.rowTiles), columns = static_cast<unsigned>(p.columnTiles);
  unsigned split = 0;
  if (p.splits > 1) split = rest / (rows * columns), rest -= split * rows * columns;
  const unsigned firstRow = rest / (kBandRows * columns) * kBandRows, height = min(static_cast<unsigned>(kBandRows), rows - firstRow);
  rest -= firstRow * columns;
  unsigned column = rest / kBandRows;
  if (height < kBandRows) column = rest / height;
  return {problem, static_cast<int>(firstRow + rest - column * height), static_cast<int>(column), static_cast<int>(split)};
}

}  // namespace repa::cuda
