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
// reads 8 KiB of shared memory for 64 x 64 x 32 multiply-adds, half of what shared memory could give in the time that they take. In sm_80's
// machine code a stage of 16 bits is 151 instructions, 64 of them mma (scripts/kernel-instructions.mjs).
//
// Several weight gradients may share a launch (gemm_sm90.cu says what for): the tiles of one follow those of another.
//
// The order of a sum is fixed: k upwards, 16 (tf32: 8) at a time. It depends on nothing but where the plan cuts it.
#include "cuda/gemm_mma_tile.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kBandRows = 16;

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

  OperandCopy<T, kContiguousA, kAligned> copyA(args.a, args.lda, firstRow, m, kBegin, kEnd, problem.granule);
  OperandCopy<T, kContiguousB, kAligned> copyB(args.b, args.ldb, firstColumn, n, kBegin, kEnd, problem.granule);
  float sums[4][8][4] = {};
  const int steps = (kEnd - kBegin + kStageDepth<T> - 1) / kStageDepth<T>;
  multiplyMmaTile<T, kContiguousA, kContiguousB>(shared, copyA, copyB, steps, sums);
  finishMmaTile<T, kEpiloguesOf<layout>>(shared, sums, problem, place);
}

template <class T, GemmLayout layout>
void launchLayout(cudaStream_t stream, const GemmGroup& group, int tiles) {
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(tiles)), .block = dim3(kMmaThreads), .sharedBytes = kMmaSharedBytes};
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
