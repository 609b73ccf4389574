// Products of f32 matrices in f32: C = epilogue(Σ A B), every product and sum rounded once.
//
// A block of 8 warps computes a tile of 128 x 128. Warps stand in 2 rows of 4 (64 x 32 each), a warp's lanes in 8 rows of 4, and a
// thread computes 8 x 8 numbers, rows 4 r ... 4 r + 3 and the same 32 further down, columns 4 c ... 4 c + 3 and 16 further on: eight and
// four different 16-byte reads of shared memory by a warp, one pass each, feed its 64 multiply-adds a lane.
//
// Shared memory: two buffers of 8 (of k) x 128 for A and for B, k by k whatever the operands' layout, 4 floats apart so that transposing
// writes fall into different banks; global memory is read one step ahead into registers. The epilogue's slabs lie over the buffers:
// 36 KiB. 128 registers at most, so that two blocks share a multiprocessor.
#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_tile_place.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kDepth = 8;
constexpr int kPitch = kTileRows + 4;
constexpr int kBufferFloats = kDepth * kPitch;
constexpr int kBandRows = 16;
constexpr int kSlabRows = 32, kSlabColumns = 32, kSlabPitch = kSlabColumns + 4;
constexpr int kSharedBytes = 4 * 8 * kSlabRows * kSlabPitch;
static_assert(4 * 4 * kBufferFloats <= kSharedBytes);

/// 128 rows (of A's m or B's n) x 8 of an operand: each thread brings four numbers that lie one after the other in global memory.
template <bool kContiguous>
class Panel {
 public:
  __device__ __forceinline__ Panel(const void* base, int64_t pitch, bool aligned, int firstRow, int rows, int kBegin, int kEnd) : aligned_(aligned) {
    const float* const from = static_cast<const float*>(base);
    if constexpr (kContiguous) {
      line_ = threadIdx.x / 2, first_ = threadIdx.x % 2 * 4;
      left_ = kEnd - kBegin - first_, linesLeft_ = rows - firstRow - line_;
      source_ = from + (firstRow + line_) * pitch + kBegin + first_;
      step_ = kDepth;
    } else {
      line_ = threadIdx.x / 32, first_ = threadIdx.x % 32 * 4;
      left_ = rows - firstRow - first_, linesLeft_ = kEnd - kBegin - line_;
      source_ = from + (kBegin + line_) * pitch + firstRow + first_;
      step_ = kDepth * pitch;
    }
  }

  /// Reads the next step's numbers; zeros beyond the operand.
  __device__ __forceinline__ void fetch() {
    const int count = linesLeft_ > 0 ? left_ : 0;
    if (aligned_ && count >= 4) load(held_, source_);
    else
#pragma unroll
      for (int i = 0; i < 4; ++i) held_[i] = i < count ? source_[i] : 0.0f;
    source_ += step_;
    (kContiguous ? left_ : linesLeft_) -= kDepth;
  }

  __device__ __forceinline__ void put(float* buffer) const {
    if constexpr (kContiguous) {
#pragma unroll
      for (int i = 0; i < 4; ++i) buffer[(first_ + i) * kPitch + line_] = held_[i];
    } else {
      store(buffer + line_ * kPitch + first_, held_);
    }
  }

 private:
  const float* source_;
  int64_t step_;
  int line_, first_, left_, linesLeft_;
  bool aligned_;
  float held_[4];
};

/// Four neighbours and four others, `apart` further on.
__device__ __forceinline__ void loadEight(float (&to)[8], const float* from, int apart) {
  float low[4], high[4];
  load(low, from);
  load(high, from + apart);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = low[i], to[4 + i] = high[i];
}

template <GemmLayout layout>
__global__ void __launch_bounds__(kThreads, 2) gemmFfmaKernel(const __grid_constant__ GemmGroup group) {
  REPA_DYNAMIC_SHARED(shared);
  float* const buffers = reinterpret_cast<float*>(shared);  // A and B of the one step, then of the other
  const TilePlace place = tilePlace<kBandRows>(group, static_cast<int>(blockIdx.x));
  const GemmProblem& problem = group.problems[place.problem];
  const GemmArgs& args = problem.args;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int kBegin = place.split * problem.depth, kEnd = min(static_cast<int>(args.k), kBegin + problem.depth);
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpRow = warp / 4, warpColumn = warp % 4;
  const int row = 64 * warpRow + lane / 4 * 4, column = 32 * warpColumn + lane % 4 * 4;

  Panel<layout != GemmLayout::weightGradient> panelA(args.a, args.lda, problem.aligned, firstRow, m, kBegin, kEnd);
  Panel<layout == GemmLayout::forward> panelB(args.b, args.ldb, problem.aligned, firstColumn, n, kBegin, kEnd);
  float sums[8][8] = {};
  const int steps = (kEnd - kBegin + kDepth - 1) / kDepth;
  if (steps > 0) {
    panelA.fetch();
    panelB.fetch();
    panelA.put(buffers);
    panelB.put(buffers + kBufferFloats);
  }
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const float* const from = buffers + step % 2 * 2 * kBufferFloats;
    if (step + 1 < steps) {
      panelA.fetch();
      panelB.fetch();
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float a[8], b[8];
      loadEight(a, from + k * kPitch + row, 32);
      loadEight(b, from + kBufferFloats + k * kPitch + column, 16);
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
    if (step + 1 < steps) {
      // Into the other buffer, which all threads had left at the last barrier.
      float* const to = buffers + (step + 1) % 2 * 2 * kBufferFloats;
      panelA.put(to);
      panelB.put(to + kBufferFloats);
      __syncthreads();
    }
  }

  __syncthreads();  // the slabs lie over the buffers
  float* const slab = buffers + warp * kSlabRows * kSlabPitch;
  const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
  Epilogue<float, 4> epilogue(args, problem.wide, firstColumn + 32 * warpColumn + lane % 8 * 4);
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {
    const auto layDown = [&](int first) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          const float four[4] = {sums[first + i][j], sums[first + i][j + 1], sums[first + i][j + 2], sums[first + i][j + 3]};
          store(slab + (lane / 4 * 4 + i) * kSlabPitch + lane % 4 * 4 + j * 4, four);
        }
    };
    if (part == 0) layDown(0);
    else layDown(4);
    __syncwarp();
    const auto index = [](int row, int column) { return row * kSlabPitch + column; };
    finishSlab<kSlabRows, kSlabColumns, 2>(epilogue, slab, index, partRows + firstRow + 64 * warpRow + kSlabRows * part, partRows + m);
    __syncwarp();
  }
  if (problem.columnSums) {
    __syncthreads();
    storeColumnSums<2>(epilogue.sums(), buffers, 32 * warpColumn + lane % 8 * 4, warpRow,
                       problem.columnSums + static_cast<int64_t>(place.row) * n + firstColumn, firstColumn, n);
  }
}

}  // namespace

void launchGemmFfma(cudaStream_t stream, const GemmGroup& group, int tiles) {
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(tiles)), .block = dim3(kThreads), .sharedBytes = kSharedBytes};
  switch (group.problems[0].args.layout) {
    case GemmLayout::forward: return launch(stream, gemmFfmaKernel<GemmLayout::forward>, shape, group);
    case GemmLayout::inputGradient: return launch(stream, gemmFfmaKernel<GemmLayout::inputGradient>, shape, group);
    case GemmLayout::weightGradient: return launch(stream, gemmFfmaKernel<GemmLayout::weightGradient>, shape, group);
  }
}

}  // namespace repa::cuda
