// Products of f32 matrices in f32: C = epilogue(Σ A B), every product and sum rounded once.
//
// A block of 8 warps computes a tile of 128 x 128. Warps stand in 2 rows of 4 (64 x 32 each), a warp's lanes in 8 rows of 4, and a
// thread computes 8 x 8 numbers, rows 4 r ... 4 r + 3 and the same 32 further down, columns 4 c ... 4 c + 3 and 16 further on: eight and
// four different 16-byte reads of shared memory by a warp, one pass each, feed its 64 multiply-adds a lane.
//
// Shared memory: two buffers of 8 (of k) x 128 for A and for B, k by k whatever the operands' layout, 4 floats apart so that transposing
// writes fall into different banks; global memory is read one step ahead into registers. The epilogue's slabs lie over the buffers:
// 36 KiB. 128 registers at most, so that two blocks share a multiprocessor.
#include "cuda/gemm_ffma_tile.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kBandRows = 16;

template <GemmLayout layout>
__global__ void __launch_bounds__(kFfmaThreads, 2) gemmFfmaKernel(const __grid_constant__ GemmGroup group) {
  REPA_DYNAMIC_SHARED(shared);
  const TilePlace place = tilePlace<kBandRows>(group, static_cast<int>(blockIdx.x));
  const GemmProblem& problem = group.problems[place.problem];
  const GemmArgs& args = problem.args;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int kBegin = place.split * problem.depth, kEnd = min(static_cast<int>(args.k), kBegin + problem.depth);
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns;

  Panel<layout != GemmLayout::weightGradient> panelA(args.a, args.lda, problem.aligned, firstRow, m, kBegin, kEnd);
  Panel<layout == GemmLayout::forward> panelB(args.b, args.ldb, problem.aligned, firstColumn, n, kBegin, kEnd);
  float sums[8][8] = {};
  const int steps = (kEnd - kBegin + kFfmaDepth - 1) / kFfmaDepth;
  multiplyFfmaTile(shared, panelA, panelB, steps, sums);
  finishFfmaTile<kEpiloguesOf<layout>>(shared, sums, problem, place);
}

}  // namespace

void launchGemmFfma(cudaStream_t stream, const GemmGroup& group, int tiles) {
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(tiles)), .block = dim3(kFfmaThreads), .sharedBytes = kFfmaSharedBytes};
  switch (group.problems[0].args.layout) {
    case GemmLayout::forward: return launch(stream, gemmFfmaKernel<GemmLayout::forward>, shape, group);
    case GemmLayout::inputGradient: return launch(stream, gemmFfmaKernel<GemmLayout::inputGradient>, shape, group);
    case GemmLayout::weightGradient: return launch(stream, gemmFfmaKernel<GemmLayout::weightGradient>, shape, group);
  }
}

}  // namespace repa::cuda
