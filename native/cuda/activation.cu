// Activation functions and their gradients, element by element. Bound by memory for float32; for bf16 and f16 about balanced: a
// thread takes one access of 16 bytes of every operand (one element where an operand is not aligned).
#include "cuda/activation.h"

#include "cuda/activation_math.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

template <Activation function, class T>
__device__ __forceinline__ float value(float x) {
  if constexpr (function == Activation::silu) return silu<T>(x);
  else if constexpr (function == Activation::geluTanh) return geluTanh<T>(x);
  else if constexpr (function == Activation::geluErf) return geluErf<T>(x);
  else return quickGelu<T>(x);
}

template <Activation function, class T>
__device__ __forceinline__ float slope(float x) {
  if constexpr (function == Activation::silu) return siluSlope<T>(x);
  else if constexpr (function == Activation::geluTanh) return geluTanhSlope<T>(x);
  else if constexpr (function == Activation::geluErf) return geluErfSlope<T>(x);
  else return quickGeluSlope<T>(x);
}

/// N elements a thread, and one at a time at the end that no N divides.
template <Activation function, int N, class T>
__global__ void __launch_bounds__(kThreads) activationKernel(int64_t count, const T* x, T* out) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= count) {
    float values[N];
    load(values, x + first);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = value<function, T>(values[i]);
    store(out + first, values);
  } else {
#pragma unroll 1
    for (int64_t i = first; i < count; ++i) out[i] = fromFloat<T>(value<function, T>(toFloat(x[i])));
  }
}

template <Activation function, int N, class T>
__global__ void __launch_bounds__(kThreads) activationBackwardKernel(int64_t count, const T* dOut, const T* x, T* dX) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= count) {
    float values[N], gradient[N];
    load(values, x + first);
    load(gradient, dOut + first);
#pragma unroll
    for (int i = 0; i < N; ++i) gradient[i] *= slope<function, T>(values[i]);
    store(dX + first, gradient);
  } else {
#pragma unroll 1
    for (int64_t i = first; i < count; ++i) dX[i] = fromFloat<T>(toFloat(dOut[i]) * slope<function, T>(toFloat(x[i])));
  }
}

LaunchShape covering(int64_t count, int perThread) {
  return {.grid = dim3(blocksFor(count, int64_t{kThreads} * perThread)), .block = dim3(kThreads)};
}

template <Activation function>
void forward(cudaStream_t stream, const Tensor& x, const Tensor& out) {
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int N = kVectorLength<T>;
    const int64_t count = x.elements();
    const T* px = elements<const T>(x);
    T* po = elements<T>(out);
    if (aligned16(px, po)) launch(stream, activationKernel<function, N, T>, covering(count, N), count, px, po);
    else launch(stream, activationKernel<function, 1, T>, covering(count, 1), count, px, po);
  });
}

template <Activation function>
void backward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, const Tensor& dX) {
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int N = kVectorLength<T>;
    const int64_t count = x.elements();
    const T* pd = elements<const T>(dOut);
    const T* px = elements<const T>(x);
    T* po = elements<T>(dX);
    if (aligned16(pd, px, po)) launch(stream, activationBackwardKernel<function, N, T>, covering(count, N), count, pd, px, po);
    else launch(stream, activationBackwardKernel<function, 1, T>, covering(count, 1), count, pd, px, po);
  });
}

}  // namespace

void activation(cudaStream_t stream, const Tensor& x, Activation function, const Tensor& out) {
  if (x.elements() == 0) return;
  switch (function) {
    case Activation::silu: return forward<Activation::silu>(stream, x, out);
    case Activation::geluTanh: return forward<Activation::geluTanh>(stream, x, out);
    case Activation::geluErf: return forward<Activation::geluErf>(stream, x, out);
    case Activation::quickGelu: return forward<Activation::quickGelu>(stream, x, out);
    case Activation::none: return;
  }
}

void activationBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& x, Activation function, const Tensor& dX) {
  if (x.elements() == 0) return;
  switch (function) {
    case Activation::silu: return backward<Activation::silu>(stream, dOut, x, dX);
    case Activation::geluTanh: return backward<Activation::geluTanh>(stream, dOut, x, dX);
    case Activation::geluErf: return backward<Activation::geluErf>(stream, dOut, x, dX);
    case Activation::quickGelu: return backward<Activation::quickGelu>(stream, dOut, x, dX);
    case Activation::none: return;
  }
}

}  // namespace repa::cuda
