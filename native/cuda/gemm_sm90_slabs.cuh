// How a consumer of gemm_sm90_kernel.cuh finishes its 128 x 128 sums by way of shared memory, 16 rows x 64 columns a warp after the other: every
// epilogue (gemm_epilogue.cuh), at any alignment. Slow beside gemm_sm90_finish.cuh, which has those of a training step.
#pragma once

#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_sm90_finish.cuh"

namespace repa::cuda {

constexpr int kSlabRows = 16, kSlabColumns = kStripColumns, kSlabFloats = kSlabRows * kSlabColumns;
constexpr int kLaneColumns = 4, kSlabLanes = kSlabColumns / kLaneColumns, kRowsAtOnce = 4;  // 4 columns a lane: 8 would cost too many registers
static_assert(kSlabLanes == 16);
constexpr int kSlabBytes = 4 * kSlabFloats;

/// `sums`: a warpgroup's. `columnSums` has 64 floats for each of the consumers' warps.
template <class T, Epilogues made, bool inTurns>
__device__ __forceinline__ void finishBySlabs(const float (&sums)[2][64], const FinishTile& tile, float* slab, float* columnSums, int warp, int firstBarrier) {
  const GemmProblem& problem = tile.problem;
  const int lane = threadIdx.x % 32, n = static_cast<int>(problem.args.n), firstColumn = tile.firstColumn;
  // Of each 64 rows of the warpgroup a warp holds 16.
  const int firstRow = tile.firstRow + 16 * (warp % 4);
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    Epilogue<T, kLaneColumns, made> epilogue(problem.args, problem.wide, firstColumn + kStripColumns * half + lane % kSlabLanes * kLaneColumns);
#pragma unroll 1
    for (int block = 0; block < 2; ++block) {
      const auto layDown = [&](const float (&from)[64], int first) { layFragmentsDown(slab, 0, [&](int j, int i) { return from[first + 4 * j + i]; }); };
      if (half == 0) {
        if (block == 0) layDown(sums[0], 0);
        else layDown(sums[1], 0);
      } else {
        if (block == 0) layDown(sums[0], 32);
        else layDown(sums[1], 32);
      }
      __syncwarp();
      finishSlab<kSlabRows, kSlabColumns, kRowsAtOnce>(epilogue, slab, fragmentSlabIndex, firstRow + 64 * block, tile.endRow);
      __syncwarp();
    }
    if (made == Epilogues::ofInputGradient && problem.columnSums) {
      // Of the warps that share the tile.
      constexpr int warps = inTurns ? 4 : 8;
      const int firstWarp = warp / warps * warps, barrier = firstBarrier + firstWarp / 4;
#pragma unroll
      for (int i = 0; i < kLaneColumns; ++i) {
        const float sum = epilogue.sums()[i] + __shfl_xor_sync(kAll, epilogue.sums()[i], kSlabLanes);
        if (lane < kSlabLanes) columnSums[warp * kSlabColumns + lane * kLaneColumns + i] = sum;
      }
      namedBarrierSync(barrier, 32 * warps);
      const int own = static_cast<int>(threadIdx.x) - 32 * firstWarp, column = firstColumn + kStripColumns * half + own;
      if (own < kSlabColumns && column < n) {
        float sum = 0.0f;
#pragma unroll
        for (int w = 0; w < warps; ++w) sum += columnSums[(firstWarp + w) * kSlabColumns + own];
        problem.columnSums[static_cast<int64_t>(tile.tileRow) * n + column] = sum;
      }
      namedBarrierSync(barrier, 32 * warps);
    }
  }
}

}  // namespace repa::cuda
