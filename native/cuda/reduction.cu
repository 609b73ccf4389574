// Sums, in a fixed order: the data is cut by its size alone, each part summed by one block, and the parts' sums added up in turn.
//
// columnSum: a block takes a strip of columns, 32 accesses of 16 bytes wide, of one part of the rows. Its 8 warps take every 8th row, four
// rows under way at once, and join over shared memory:
//
//     columns   0 .. 31 N | 32 N .. 63 N | ...       N = 16 bytes of elements
//     part 0    block       block
//     part 1    block       block                    as many parts as make about four blocks an SM
//
// sum: every thread adds its elements in double, which memory hides.
#include "cuda/reduction.h"

#include "cuda/dtype_switch.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/partial_sums.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// Four on each of 132 SMs.
constexpr int64_t kBlocks = 4 * 132;

int64_t partsOf(int64_t rows, int64_t columns) {
  constexpr int64_t leastRows = 64, columnsOfBlock = 256;
  const int64_t strips = (columns + columnsOfBlock - 1) / columnsOfBlock;
  const int64_t wanted = (kBlocks + strips - 1) / strips;
  const int64_t possible = (rows + leastRows - 1) / leastRows;
  const int64_t parts = wanted < possible ? wanted : possible;
  return parts > 1 ? parts : 1;
}

/// partials [parts, columns].
template <int N, class T>
__global__ void __launch_bounds__(kThreads) columnSumKernel(int64_t rows, int64_t columns, int parts, const T* x, float* partials) {
  __shared__ float joined[kWarps][N][32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t strips = (columns + 32 * N - 1) / (32 * N);
  const int64_t part = blockIdx.x / strips;
  const int64_t column = (blockIdx.x % strips * 32 + lane) * N;
  const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;

  float sums[N] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = begin + warp; row < end; row += kWarps) {
      float values[N];
      load(values, x + row * columns + column);
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] += values[i];
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) joined[warp][i][lane] = sums[i];
  __syncthreads();
  // Column N l + i of the strip is at [..][i][l]; a warp finishes those of every 8th i.
  for (int i = warp; i < N; i += kWarps) {
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += joined[w][i][lane];
    if (column < columns) partials[part * columns + column + i] = sum;
  }
}

/// The sum of every thread's value, in thread 0; 0 in the others.
__device__ double blockSum(double value) {
  __shared__ double joined[kThreads];
  joined[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) joined[threadIdx.x] += joined[threadIdx.x + half];
  }
  return threadIdx.x == 0 ? joined[0] : 0.0;  // thread 0 alone: it has just written that
}

template <int N>
__global__ void __launch_bounds__(kThreads) sumKernel(int64_t count, const float* x, double* partials) {
  double sum = 0.0;
  const int64_t stride = int64_t{gridDim.x} * kThreads * N;
#pragma unroll 4
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < count; i += stride) {
    float values[N];
    load(values, x + i);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += static_cast<double>(values[j]);
  }
  sum = blockSum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) finishSumKernel(int blocks, const double* partials, double factor, float* out) {
  double sum = 0.0;
  for (int block = static_cast<int>(threadIdx.x); block < blocks; block += kThreads) sum += partials[block];
  sum = blockSum(sum);
  if (threadIdx.x == 0) *out = static_cast<float>(factor * sum);
}

/// No block without a round of work for its threads, but always one.
int64_t sumBlocks(int64_t count) {
  const int64_t blocks = (count + kThreads * 4 - 1) / (kThreads * 4);
  return blocks < 1 ? 1 : blocks < kBlocks ? blocks : kBlocks;
}

}  // namespace

void columnSum(cudaStream_t stream, const Tensor& x, const Tensor& out, bool accumulate, const Tensor& scratch) {
  const int64_t columns = x.size(-1), rows = x.elements() / columns, parts = partsOf(rows, columns);
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const T* values = elements<const T>(x);
    const auto run = [&](auto kernel, int64_t n) {
      const int64_t strips = (columns + 32 * n - 1) / (32 * n);
      launch(stream, kernel, {.grid = dim3(static_cast<unsigned>(strips * parts)), .block = dim3(kThreads)}, rows, columns,
             static_cast<int>(parts), values, scratch.f32());
    };
    constexpr int N = kVectorLength<T>;
    if (columns % N == 0 && aligned16(values)) run(columnSumKernel<N, T>, N);
    else run(columnSumKernel<1, T>, 1);
  });
  const PartialSums sums{.partials = scratch.f32(), .groups = 1, .parts = parts, .out = out.f32(), .outStride = 0,
                         .accumulate = accumulate};
  addPartialSums(stream, columns, &sums, 1);
}

int64_t columnSumScratchFloats(const Tensor& x) { return partsOf(x.elements() / x.size(-1), x.size(-1)) * x.size(-1); }

void sum(cudaStream_t stream, const Tensor& x, double factor, const Tensor& out, const Tensor& scratch) {
  const int64_t count = x.elements(), blocks = sumBlocks(count);
  double* partials = reinterpret_cast<double*>(scratch.data());
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)};
  if (count % 4 == 0 && aligned16(x.f32())) launch(stream, sumKernel<4>, shape, count, x.f32(), partials);
  else launch(stream, sumKernel<1>, shape, count, x.f32(), partials);
  launch(stream, finishSumKernel, {.grid = dim3(1), .block = dim3(kThreads)}, static_cast<int>(blocks), partials, factor, out.f32());
}

int64_t sumScratchFloats(const Tensor& x) { return 2 * sumBlocks(x.elements()); }

}  // namespace repa::cuda
