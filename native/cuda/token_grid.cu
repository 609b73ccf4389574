// Tokens as the cells of a grid; bound by memory.
//
//   unfoldTokens            one block a token: it writes the nine cells of every channel side by side, so that a warp's stores are
//                           neighbours and its loads come from nine rows that the cache holds.
//   unfoldTokensBackward    one block a token: the nine tokens that have read it are summed, in the order of the cells.
//   standardizeTokens       one thread a channel of a sample, neighbours taking neighbouring channels; three passes over the tokens.
#include "cuda/token_grid.h"

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kCells = 9;

/// The token `down` rows and `right` columns from token `t` of the grid, or -1 outside of it.
__device__ __forceinline__ int tokenAt(int t, int down, int right, int rows, int columns) {
  const int row = t / columns + down, column = t % columns + right;
  return row < 0 || row >= rows || column < 0 || column >= columns ? -1 : row * columns + column;
}

template <class T>
__global__ void __launch_bounds__(kThreads) unfoldTokensKernel(int rows, int columns, int width, const T* x, T* out) {
  const int tokens = rows * columns, token = blockIdx.x % tokens;
  x += int64_t{blockIdx.x / tokens} * tokens * width;
  out += int64_t{blockIdx.x} * kCells * width;
  for (int i = threadIdx.x; i < kCells * width; i += kThreads) {
    const int cell = i % kCells;
    const int from = tokenAt(token, cell / 3 - 1, cell % 3 - 1, rows, columns);
    out[i] = from < 0 ? fromFloat<T>(0.0f) : x[int64_t{from} * width + i / kCells];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) unfoldTokensBackwardKernel(int rows, int columns, int width, const T* dOut, T* dX) {
  const int tokens = rows * columns, token = blockIdx.x % tokens;
  dOut += int64_t{blockIdx.x / tokens} * tokens * kCells * width;
  dX += int64_t{blockIdx.x} * width;
  for (int d = threadIdx.x; d < width; d += kThreads) {
    float sum = 0;
#pragma unroll
    for (int cell = 0; cell < kCells; ++cell) {
      const int reader = tokenAt(token, 1 - cell / 3, 1 - cell % 3, rows, columns);
      if (reader >= 0) sum += toFloat(dOut[(int64_t{reader} * width + d) * kCells + cell]);
    }
    dX[d] = fromFloat<T>(sum);
  }
}

__global__ void __launch_bounds__(kThreads) standardizeTokensKernel(int64_t channels, int tokens, int width, float share, float epsilon,
                                                                   const float* x, float* out) {
  const int64_t channel = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (channel >= channels) return;
  const int64_t first = channel / width * tokens * width + channel % width;
  double sum = 0;
  for (int t = 0; t < tokens; ++t) sum += x[first + int64_t{t} * width];
  const double mean = sum / tokens;
  double squares = 0;
  for (int t = 0; t < tokens; ++t) {
    const double centred = x[first + int64_t{t} * width] - mean;
    squares += centred * centred;
  }
  const float shift = share * static_cast<float>(mean);
  const float deviation = static_cast<float>(sqrt(squares / (tokens - 1))) + epsilon;
  for (int t = 0; t < tokens; ++t) out[first + int64_t{t} * width] = (x[first + int64_t{t} * width] - shift) / deviation;
}

LaunchShape blockPerToken(const Tensor& x) { return {.grid = dim3(blocksFor(x.size(0) * x.size(1), 1)), .block = dim3(kThreads)}; }

}  // namespace

void unfoldTokens(cudaStream_t stream, const Tensor& x, int64_t rows, int64_t columns, const Tensor& out) {
  if (out.elements() == 0) return;
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch(stream, unfoldTokensKernel<T>, blockPerToken(x), static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(x.size(2)),
           elements<const T>(x), elements<T>(out));
  });
}

void unfoldTokensBackward(cudaStream_t stream, const Tensor& dOut, int64_t rows, int64_t columns, const Tensor& dX) {
  if (dX.elements() == 0) return;
  withComputeType(dX.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch(stream, unfoldTokensBackwardKernel<T>, blockPerToken(dX), static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(dX.size(2)),
           elements<const T>(dOut), elements<T>(dX));
  });
}

void standardizeTokens(cudaStream_t stream, const Tensor& x, float share, float epsilon, const Tensor& out) {
  const int64_t channels = x.size(0) * x.size(2);
  if (channels == 0) return;
  launch(stream, standardizeTokensKernel, {.grid = dim3(blocksFor(channels, kThreads)), .block = dim3(kThreads)}, channels,
         static_cast<int>(x.size(1)), static_cast<int>(x.size(2)), share, epsilon, x.f32(), out.f32());
}

}  // namespace repa::cuda
