// SwiGLU, between the two Linears of an MLP (DINOv2's ViT-g, LightningDiT): out = silu(x1) x2 for rows x1 | x2. Bound by memory.
//
//   x [rows, 2 h]    | x1 ......... | x2 ......... |      a block of the grid takes a piece of one row: y counts rows, x the
//   out [rows, h]    | ............ |                     pieces, and a thread one access of 16 bytes of each half, where h
//                                                         and the pointers let it.
#include "cuda/swiglu.h"

#include "cuda/activation_math.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 128;

template <int N, class T>
__global__ void __launch_bounds__(kThreads) swigluKernel(int64_t rows, int64_t hidden, const T* x, T* out) {
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= hidden) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    float x1[N], x2[N];
    load(x1, x + 2 * row * hidden + column);
    load(x2, x + (2 * row + 1) * hidden + column);
#pragma unroll
    for (int i = 0; i < N; ++i) x1[i] = silu<T>(x1[i]) * x2[i];
    store(out + row * hidden + column, x1);
  }
}

/// dx1 = dOut x2 silu'(x1), dx2 = dOut silu(x1), with one sigmoid for both: silu = x1 s, silu' = s (1 + x1 (1 - s)).
template <int N, class T>
__global__ void __launch_bounds__(kThreads) swigluBackwardKernel(int64_t rows, int64_t hidden, const T* dOut, const T* x, T* dX) {
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= hidden) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    float x1[N], x2[N], d[N];
    load(x1, x + 2 * row * hidden + column);
    load(x2, x + (2 * row + 1) * hidden + column);
    load(d, dOut + row * hidden + column);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const SigmoidPair p = sigmoidPair<T>(x1[i]);
      const float silu = x1[i] * p.s;
      x1[i] = d[i] * x2[i] * (p.s * (1.0f + x1[i] * p.oneMinus));
      x2[i] = d[i] * silu;
    }
    store(dX + 2 * row * hidden + column, x1);
    store(dX + (2 * row + 1) * hidden + column, x2);
  }
}

/// Calls run(N) with as many elements a thread as `hidden` and the pointers allow.
template <class T, class Run, class... Pointers>
void withRowVectors(int64_t rows, int64_t hidden, Run&& run, const Pointers*... pointers) {
  if (rows == 0 || hidden == 0) return;
  constexpr int N = kVectorLength<T>;
  const auto shape = [&](int perThread) -> LaunchShape {
    return {.grid = dim3(blocksFor(hidden, int64_t{kThreads} * perThread), walkingBlocks(rows)), .block = dim3(kThreads)};
  };
  if (hidden % N == 0 && aligned16(pointers...)) run(std::integral_constant<int, N>{}, shape(N));
  else run(std::integral_constant<int, 1>{}, shape(1));
}

}  // namespace

void swiGLU(cudaStream_t stream, const Tensor& x, const Tensor& out) {
  const int64_t hidden = out.size(-1), rows = hidden == 0 ? 0 : out.elements() / hidden;
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const T* px = elements<const T>(x);
    T* po = elements<T>(out);
    const auto run = [&](auto n, const LaunchShape& shape) {
      launch(stream, swigluKernel<decltype(n)::value, T>, shape, rows, hidden, px, po);
    };
    withRowVectors<T>(rows, hidden, run, px, po);
  });
}

void swiGLUBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& dX) {
  const int64_t hidden = dOut.size(-1), rows = hidden == 0 ? 0 : dOut.elements() / hidden;
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const T* pd = elements<const T>(dOut);
    const T* px = elements<const T>(x);
    T* po = elements<T>(dX);
    const auto run = [&](auto n, const LaunchShape& shape) {
      launch(stream, swigluBackwardKernel<decltype(n)::value, T>, shape, rows, hidden, pd, px, po);
    };
    withRowVectors<T>(rows, hidden, run, pd, px, po);
  });
}

}  // namespace repa::cuda
