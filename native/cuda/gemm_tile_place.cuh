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
  tile -= p.firstTile;
  const int tiles = p.rowTiles * p.columnTiles;
  const int split = tile / tiles;
  tile -= split * tiles;
  const int bandTiles = kBandRows * p.columnTiles;
  const int band = tile / bandTiles;
  tile -= band * bandTiles;
  const int height = min(kBandRows, p.rowTiles - band * kBandRows);
  return {problem, band * kBandRows + tile % height, tile / height, split};
}

}  // namespace repa::cuda
