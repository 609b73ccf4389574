// Products of bf16 and f16 matrices, and of f32 ones rounded to tf32, by the tensor cores of sm_80 and later: C = epilogue(Σ A B).
//
// A block of 4 warps computes a tile of 128 x 128, each warp a quarter of 64 x 64:
//
//                     k                            warp 0 | warp 1     64
//         A 128 x 32 ───▶ stage s of 3            ────────┼────────
//         B 128 x 32                               warp 2 | warp 3     64
//
// Shared memory: 3 stages of 2 x 8 KiB (gemm_operand.cuh), filled by cp.async two stages ahead; the epilogue lays its slabs over them.
// 48 KiB and at most 255 registers, so that two blocks share a multiprocessor: one's epilogue runs under the other's main loop. A warp
// reads 8 KiB of shared memory for 64 x 64 x 32 multiply-adds, half of what shared memory could give in the time that they take.
//
// The order of a sum is fixed: k upwards, 16 (tf32: 8) at a time. It depends on nothing but where the plan cuts it.
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_operand.cuh"
#include "cuda/gemm_tile_place.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kStages = 3;
constexpr int kBandRows = 16;
constexpr int kSlabRows = 32, kSlabColumns = 64;
constexpr int kSharedBytes = kStages * 2 * kStageBytes;
static_assert(4 * kSlabRows * kSlabColumns * 4 <= kSharedBytes);

template <class T>
__device__ __forceinline__ void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, float>) mmaM16N8K8Tf32(d, a, b);
  else mmaM16N8K16<T>(d, a, b);
}

template <class T, GemmLayout layout, bool kAligned>
__global__ void __launch_bounds__(kMmaThreads, 2) gemmMmaKernel(const __grid_constant__ GemmGroup group) {
  constexpr bool kContiguousA = layout != GemmLayout::weightGradient, kContiguousB = layout == GemmLayout::forward;
  REPA_DYNAMIC_SHARED(shared);
  const TilePlace place = tilePlace<kBandRows>(group, static_cast<int>(blockIdx.x));
  const GemmProblem& problem = group.problems[place.problem];
  const GemmArgs& args = problem.args;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int kBegin = place.split * problem.depth, kEnd = min(static_cast<int>(args.k), kBegin + problem.depth);
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpRow = warp / 2, warpColumn = warp % 2;

  OperandCopy<T, kContiguousA, kAligned> copyA(args.a, args.lda, firstRow, m, kBegin, kEnd, problem.granule);
  OperandCopy<T, kContiguousB, kAligned> copyB(args.b, args.ldb, firstColumn, n, kBegin, kEnd, problem.granule);
  const OperandFragments<T, kContiguousA> fragmentsA(64 * warpRow);
  const OperandFragments<T, kContiguousB> fragmentsB(64 * warpColumn);
  const int steps = (kEnd - kBegin + kStageDepth<T> - 1) / kStageDepth<T>;
  const auto copy = [&](unsigned char* stage) {
    copyA.next(stage);
    copyB.next(stage + kStageBytes);
  };
  unsigned char* const end = shared + kSharedBytes;
  const auto advance = [&](unsigned char*& stage) {
    stage += 2 * kStageBytes;
    if (stage == end) stage = shared;
  };

  float sums[4][8][4] = {};
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
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) copy(shared + step * 2 * kStageBytes);
    cpAsyncCommit();
  }
  cpAsyncWait<kStages - 2>();
  __syncthreads();
  unsigned char *filled = shared, *freed = end - 2 * kStageBytes;
  if (kAhead && steps > 0) loadFragments(filled, 0);
  for (int step = 0; step < steps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half == 0) {
        loadFragments(filled, kAhead ? 1 : 0);
        // Over the last step's stage, which all warps had left at the last barrier.
        if (step + kStages - 1 < steps) copy(freed);
        cpAsyncCommit();
        advance(freed);
      } else {
        if (!kAhead) loadFragments(filled, 1);
        advance(filled);
        if (step + 1 < steps) {
          cpAsyncWait<kStages - 2>();
          __syncthreads();
          if (kAhead) loadFragments(filled, 0);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const uint32_t columns[2] = {b[kAhead * half][j / 2][j % 2], b[kAhead * half][j / 2][j % 2 + 2]};
          multiplyAdd<T>(sums[i][j], a[kAhead * half][i], columns);
        }
    }
  }

  cpAsyncWait<0>();
  __syncthreads();  // the slabs lie over the stages
  float* const slab = reinterpret_cast<float*>(shared) + warp * kSlabRows * kSlabColumns;
  // Part by part of a sum that is cut: C has m rows for each.
  const int partRows = place.split * m;
  Epilogue<T, 8> epilogue(args, problem.wide, firstColumn + 64 * warpColumn + lane % 8 * 8);
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
    finishSlab<kSlabRows, kSlabColumns, 2>(epilogue, slab, fragmentSlabIndex, partRows + firstRow + 64 * warpRow + kSlabRows * part, partRows + m);
    __syncwarp();
  }
  if (problem.columnSums) {
    __syncthreads();
    storeColumnSums<2>(epilogue.sums(), reinterpret_cast<float*>(shared), 64 * warpColumn + lane % 8 * 8, warpRow,
                       problem.columnSums + static_cast<int64_t>(place.row) * n + firstColumn, firstColumn, n);
  }
}

template <class T, GemmLayout layout>
void launchLayout(cudaStream_t stream, const GemmGroup& group, int tiles) {
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(tiles)), .block = dim3(kMmaThreads), .sharedBytes = kSharedBytes};
  if constexpr (!std::is_same_v<T, float>) {  // tf32 is for aligned operands alone
    bool aligned = true;
    for (int i = 0; i < group.count; ++i) aligned = aligned && group.problems[i].aligned;
    if (!aligned) return launch(stream, gemmMmaKernel<T, layout, false>, shape, group);
  }
  launch(stream, gemmMmaKernel<T, layout, true>, shape, group);
}

template <class T>
void launchType(cudaStream_t stream, const GemmGroup& group, int tiles) {
  switch (group.problems[0].args.layout) {
    case GemmLayout::forward: return launchLayout<T, GemmLayout::forward>(stream, group, tiles);
    case GemmLayout::inputGradient: return launchLayout<T, GemmLayout::inputGradient>(stream, group, tiles);
    case GemmLayout::weightGradient: return launchLayout<T, GemmLayout::weightGradient>(stream, group, tiles);
  }
}

}  // namespace

void launchGemmMma(cudaStream_t stream, const GemmGroup& group, int tiles) {
  switch (group.problems[0].args.dtype) {
    case DType::bf16: return launchType<bf16>(stream, group, tiles);
    case DType::f16: return launchType<f16>(stream, group, tiles);
    default: return launchType<float>(stream, group, tiles);
  }
}

}  // namespace repa::cuda
