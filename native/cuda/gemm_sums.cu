// What is left to add up after a product's kernel: the parts of a sum over k that was cut, and the column sums of the rows of tiles.
// Always in the same order, so that results are the same bits at every run.
#include "cuda/dtype_switch.h"
#include "cuda/gemm_epilogue.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 4;                   // of a thread
constexpr int kBlockColumns = 32 * kColumns;  // of a block: a warp takes a row of them
static_assert(kThreads / 32 == kSumRows && kBlockColumns == kTileColumns);

/// C = epilogue(parts[0] + parts[1] + ...), parts [splits, m, n].
template <class T>
__global__ void __launch_bounds__(kThreads) sumSplitsKernel(const __grid_constant__ GemmArgs args, bool wide, const float* parts, int splits, float* columnSums) {
  __shared__ float rowSums[kSumRows][kBlockColumns];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
  const int row = static_cast<int>(blockIdx.x) * kSumRows + warp, firstColumn = static_cast<int>(blockIdx.y) * kBlockColumns;
  const int column = firstColumn + lane * kColumns;
  Epilogue<T, kColumns, Epilogues::all> epilogue(args, wide, column);
  if (row < m) {
    float beside[kColumns], sum[kColumns] = {};
    epilogue.fetch(row, beside);
    const float* from = parts + static_cast<int64_t>(row) * n + column;
    for (int split = 0; split < splits; ++split) {
      float part[kColumns];
      epilogue.read(part, from);
      from += static_cast<int64_t>(m) * n;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) sum[i] += part[i];
    }
    epilogue.finish(row, sum, beside);
  }
  if (columnSums) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) rowSums[warp][lane * kColumns + i] = epilogue.sums()[i];
    __syncthreads();
    const int own = threadIdx.x;
    if (own < kBlockColumns && firstColumn + own < n) {
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kSumRows; ++i) sum += rowSums[i][own];
      columnSums[static_cast<int64_t>(blockIdx.x) * n + firstColumn + own] = sum;
    }
  }
}

/// 32 columns a block: warp w sums rows w, w + 8, ..., and the first warp the eight sums.
__global__ void __launch_bounds__(kThreads) sumRowsKernel(const float* parts, int rows, int n, float* out, bool accumulate) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float sums[kWarps][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int column = static_cast<int>(blockIdx.x) * 32 + lane;
  float sum = 0.0f;
  if (column < n)
    for (int row = warp; row < rows; row += kWarps) sum += parts[static_cast<int64_t>(row) * n + column];
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < n) {
    float total = accumulate ? out[column] : 0.0f;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) total += sums[i][lane];
    out[column] = total;
  }
}

}  // namespace

void launchSumSplits(cudaStream_t stream, const GemmArgs& args, bool wide, const float* parts, int splits, float* columnSums) {
  const dim3 grid(static_cast<unsigned>((args.m + kSumRows - 1) / kSumRows), static_cast<unsigned>((args.n + kBlockColumns - 1) / kBlockColumns));
  withComputeType(args.dtype, [&](auto tag) {
    launch(stream, sumSplitsKernel<typename decltype(tag)::Type>, {.grid = grid, .block = dim3(kThreads)}, args, wide, parts, splits, columnSums);
  });
}

void launchSumRows(cudaStream_t stream, const float* parts, int rows, int n, float* out, bool accumulate) {
  launch(stream, sumRowsKernel, {.grid = dim3(static_cast<unsigned>((n + 31) / 32)), .block = dim3(kThreads)}, parts, rows, n, out, accumulate);
}

}  // namespace repa::cuda
