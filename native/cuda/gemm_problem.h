// Products as the kernels get them, and the launches of those.
#pragma once

#include "cuda/gemm.h"

namespace repa::cuda {

/// Of every kernel's tiles but some of Hopper's (gemm_sm90.h).
constexpr int kTileRows = 128, kTileColumns = 128;
constexpr GemmTile kTile{kTileRows, kTileColumns};

struct GemmProblem {
  /// With more than one split, C is the parts' scratch: f32, part after part, with no epilogue.
  GemmArgs args;
  /// C and all that the epilogue reads and writes may be accessed 16 bytes at a time.
  bool wide;
  /// A and B may be, and what is contiguous of them is a multiple of that; and if not, in how many bytes.
  bool aligned;
  int granule;
  int splits;
  /// Summands of a part: a multiple of 64 (the last part may have less).
  int depth;
  int rowTiles, columnTiles;
  /// The number of the first of its tiles in the launch.
  int firstTile;
  /// [rowTiles, n], or null: the column sums of each row of tiles.
  float* columnSums;
};

/// Whether C and all that the epilogue reads and writes may be accessed 16 bytes at a time.
bool isWide(const GemmArgs& args);

/// What one launch computes.
struct GemmGroup {
  static constexpr int kMost = 4;
  int count;
  GemmProblem problems[kMost];
};

/// A launch of one product whose sum is not cut, in tiles of kTileRows x kTileColumns. Throws where a size is beyond 2^30.
GemmGroup uncutGroup(const GemmArgs& args);

/// The launches behind gemm(), for all `tiles` of the group; Hopper's is in gemm_sm90.h.
void launchGemmMma(cudaStream_t stream, const GemmGroup& group, int tiles);
void launchGemmFfma(cudaStream_t stream, const GemmGroup& group, int tiles);

/// args.C = epilogue(Σ parts), part by part in order. `columnSums` [ceil(m / kSumRows), n] or null.
constexpr int kSumRows = 8;
void launchSumSplits(cudaStream_t stream, const GemmArgs& args, bool wide, const float* parts, int splits, float* columnSums);

/// out (+)= the sums of `parts` [rows, n] over its rows, in order.
void launchSumRows(cudaStream_t stream, const float* parts, int rows, int n, float* out, bool accumulate);

}  // namespace repa::cuda
