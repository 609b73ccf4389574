// The tile of gemm_ffma.cu, whose picture stands there: the main loop over steps of A and B, and the way of its sums to C. Whatever can
// bring four summands of a row (a panel here, conv2d_image.cuh) can be multiplied so.
#pragma once

#include "cuda/gemm_epilogue.cuh"
#include "cuda/gemm_tile_place.cuh"

namespace repa::cuda {

constexpr int kFfmaThreads = 256;
constexpr int kFfmaDepth = 8;
constexpr int kFfmaPitch = kTileRows + 4;
constexpr int kFfmaBufferFloats = kFfmaDepth * kFfmaPitch;
constexpr int kFfmaSlabRows = 32, kFfmaSlabColumns = 32, kFfmaSlabPitch = kFfmaSlabColumns + 4;
constexpr int kFfmaSharedBytes = 4 * 8 * kFfmaSlabRows * kFfmaSlabPitch;
static_assert(4 * 4 * kFfmaBufferFloats <= kFfmaSharedBytes);

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
      step_ = kFfmaDepth;
    } else {
      line_ = threadIdx.x / 32, first_ = threadIdx.x % 32 * 4;
      left_ = rows - firstRow - first_, linesLeft_ = kEnd - kBegin - line_;
      source_ = from + (kBegin + line_) * pitch + firstRow + first_;
      step_ = kFfmaDepth * pitch;
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
    (kContiguous ? left_ : linesLeft_) -= kFfmaDepth;
  }

  __device__ __forceinline__ void put(float* buffer) const {
    if constexpr (kContiguous) {
#pragma unroll
      for (int i = 0; i < 4; ++i) buffer[(first_ + i) * kFfmaPitch + line_] = held_[i];
    } else {
      storeStruct(buffer + line_ * kFfmaPitch + first_, held_);
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

/// sums (zeros) += the tile's product over `steps` steps. PanelA and PanelB have fetch(), which reads a step's numbers into registers, and
/// put(buffer), which lays them down; shared: kFfmaSharedBytes. By value: by reference, ptxas of CUDA 13 spills a weight gradient's.
template <class PanelA, class PanelB>
__device__ __forceinline__ void multiplyFfmaTile(unsigned char* shared, PanelA panelA, PanelB panelB, int steps, float (&sums)[8][8]) {
  float* const buffers = reinterpret_cast<float*>(shared);  // A and B of the one step, then of the other
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = 64 * (warp / 4) + lane / 4 * 4, column = 32 * (warp % 4) + lane % 4 * 4;
  if (steps > 0) {
    panelA.fetch();
    panelB.fetch();
    panelA.put(buffers);
    panelB.put(buffers + kFfmaBufferFloats);
  }
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const float* const from = buffers + step % 2 * 2 * kFfmaBufferFloats;
    if (step + 1 < steps) {
      panelA.fetch();
      panelB.fetch();
    }
#pragma unroll
    for (int k = 0; k < kFfmaDepth; ++k) {
      float a[8], b[8];
      loadEight(a, from + k * kFfmaPitch + row, 32);
      loadEight(b, from + kFfmaBufferFloats + k * kFfmaPitch + column, 16);
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
    if (step + 1 < steps) {
      // Into the other buffer, which all threads had left at the last barrier.
      float* const to = buffers + (step + 1) % 2 * 2 * kFfmaBufferFloats;
      panelA.put(to);
      panelB.put(to + kFfmaBufferFloats);
      __syncthreads();
    }
  }
}

/// The tile's sums to C.
template <Epilogues made>
__device__ __forceinline__ void finishFfmaTile(unsigned char* shared, const float (&sums)[8][8], const GemmProblem& problem, const TilePlace& place) {
  float* const buffers = reinterpret_cast<float*>(shared);
  const GemmArgs& args = problem.args;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int firstRow = place.row * kTileRows, firstColumn = place.column * kTileColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warpRow = warp / 4, warpColumn = warp % 4;
  __syncthreads();  // the slabs lie over the buffers
  float* const slab = buffers + warp * kFfmaSlabRows * kFfmaSlabPitch;
  Epilogue<float, 4, made> epilogue(args, problem.wide, firstColumn + 32 * warpColumn + lane % 8 * 4);
  const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {
    const auto layDown = [&](int first) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          const float four[4] = {sums[first + i][j], sums[first + i][j + 1], sums[first + i][j + 2], sums[first + i][j + 3]};
          storeStruct(slab + (lane / 4 * 4 + i) * kFfmaSlabPitch + lane % 4 * 4 + j * 4, four);
        }
    };
    if (part == 0) layDown(0);
    else layDown(4);
    __syncwarp();
    const auto index = [](int row, int column) { return row * kFfmaSlabPitch + column; };
    finishSlab<kFfmaSlabRows, kFfmaSlabColumns, 2>(epilogue, slab, index, partRows + firstRow + 64 * warpRow + kFfmaSlabRows * part, partRows + m);
    __syncwarp();
  }
  if (made == Epilogues::ofInputGradient && problem.columnSums) {
    __syncthreads();
    storeColumnSums<2>(epilogue.sums(), buffers, 32 * warpColumn + lane % 8 * 4, warpRow,
                       problem.columnSums + static_cast<int64_t>(place.row) * n + firstColumn, firstColumn, n);
  }
}

}  // namespace repa::cuda
