// The tile of gemm_mma.cu, whose picture stands there: the main loop over stages of A and B, and the way of its sums to C. Whatever can
// fill a stage with an operand (gemm_operand.cuh, conv2d_image.cuh) can be multiplied so.
#pragma once

#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_operand.cuh"
#include "cuda/gemm_tile_place.cuh"

namespace repa::cuda {

constexpr int kMmaStages = 3;
constexpr int kMmaSlabRows = 32, kMmaSlabColumns = 64;
constexpr int kMmaSharedBytes = kMmaStages * 2 * kStageBytes;
static_assert(4 * kMmaSlabRows * kMmaSlabColumns * 4 <= kMmaSharedBytes);

template <class T>
__device__ __forceinline__ void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, float>) mmaM16N8K8Tf32(d, a, b);
  else mmaM16N8K16<T>(d, a, b);
}

/// sums (zeros) += the tile's product over `steps` stages. CopyA and CopyB have next(stage), which begins to copy the next stage's 128 rows
/// to `stage` by cp.async or writes them there; shared: kMmaSharedBytes.
template <class T, bool kContiguousA, bool kContiguousB, class CopyA, class CopyB>
__device__ __forceinline__ void multiplyMmaTile(unsigned char* shared, CopyA copyA, CopyB copyB, int steps, float (&sums)[4][8][4]) {
  const int warp = threadIdx.x / 32;
  const OperandFragments<T, kContiguousA, false> fragmentsA(64 * (warp / 2));
  const OperandFragments<T, kContiguousB, true> fragmentsB(64 * (warp % 2));
  const auto copy = [&](unsigned char* stage) {
    copyA.next(stage);
    copyB.next(stage + kStageBytes);
  };
  unsigned char* const end = shared + kMmaSharedBytes;
  const auto advance = [&](unsigned char*& stage) {
    stage += 2 * kStageBytes;
    if (stage == end) stage = shared;
  };

  // The fragments of the half step after the one that multiplies are on their way. tf32, whose weight gradients read them number by
  // number, has no registers for that.
  constexpr bool kAhead = sizeof(T) == 2;
  uint32_t a[2][4][4], b[2][4][4];
  const auto loadFragments = [&](const unsigned char* stage, int half) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      fragmentsA.load(a[kAhead * half][i], stage, i, half);
      fragmentsB.load(b[kAhead * half][i], stage + kStageBytes, i, half);
    }
  };

#pragma unroll
  for (int step = 0; step < kMmaStages - 1; ++step) {
    if (step < steps) copy(shared + step * 2 * kStageBytes);
    cpAsyncCommit();
  }
  cpAsyncWait<kMmaStages - 2>();
  __syncthreads();
  unsigned char *filled = shared, *freed = end - 2 * kStageBytes;
  if (kAhead && steps > 0) loadFragments(filled, 0);
  for (int step = 0; step < steps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half == 0) {
        loadFragments(filled, kAhead ? 1 : 0);
        // Over the last step's stage, which all warps had left at the last barrier.
        if (step + kMmaStages - 1 < steps) copy(freed);
        cpAsyncCommit();
        advance(freed);
      } else {
        if (!kAhead) loadFragments(filled, 1);
        advance(filled);
        if (step + 1 < steps) {
          cpAsyncWait<kMmaStages - 2>();
          __syncthreads();
          if (kAhead) loadFragments(filled, 0);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const uint32_t columns[2] = {b[kAhead * half][j / 2][j % 2 * 2], b[kAhead * half][j / 2][j % 2 * 2 + 1]};
          multiplyAdd<T>(sums[i][j], a[kAhead * half][i], columns);
        }
    }
  }
}

/// The tile's sums to C.
template <class T, Epilogues made>
__device__ __forceinline__ void finishMmaTile(unsigned char* shared, const float (&sums)[4][8][4], const GemmProblem& problem, const TilePlace& place) {
  const GemmArgs& args = problem.args;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpRow = warp / 2, warpColumn = warp % 2;
  cpAsyncWait<0>();
  __syncthreads();  // the slabs lie over the stages
  float* const slab = reinterpret_cast<float*>(shared) + warp * kMmaSlabRows * kMmaSlabColumns;
  Epilogue<T, 8, made> epilogue(args, problem.wide, firstColumn + 64 * warpColumn + lane % 8 * 8);
  const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {
    const auto layDown = [&](const float (&rows)[8][4], int row) { layFragmentsDown(slab, row, [&](int j, int i) { return rows[j][i]; }); };
    if (part == 0) {
      layDown(sums[0], 0);
      layDown(sums[1], 16);
    } else {
      layDown(sums[2], 0);
      layDown(sums[3], 16);
    }
    __syncwarp();
    finishSlab<kMmaSlabRows, kMmaSlabColumns, 2>(epilogue, slab, fragmentSlabIndex, partRows + firstRow + 64 * warpRow + kMmaSlabRows * part, partRows + m);
    __syncwarp();
  }
  if (made == Epilogues::ofInputGradient && problem.columnSums) {
    __syncthreads();
    storeColumnSums<2>(epilogue.sums(), reinterpret_cast<float*>(shared), 64 * warpColumn + lane % 8 * 8, warpRow,
                       problem.columnSums + static_cast<int64_t>(place.row) * n + firstColumn, firstColumn, n);
  }
}

}  // namespace repa::cuda
