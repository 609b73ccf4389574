// Arithmetic element by element. Bound by memory: a thread takes one access of 16 bytes of every operand (one element where an
// operand is not aligned), and neighbouring threads take neighbouring ones, so that a warp touches whole lines.
#include "cuda/elementwise.h"

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// out[i] = function(i's operands): N elements a thread, and one at a time at the end that no N divides.
template <int N, class T, class Function>
__global__ void __launch_bounds__(kThreads) elementwiseKernel(int64_t count, const T* a, const T* b, T* out, Function function) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= count) {
    float x[N] = {}, y[N] = {}, result[N];
    if (a) load(x, a + first);
    if (b) load(y, b + first);
#pragma unroll
    for (int i = 0; i < N; ++i) result[i] = function(x[i], y[i]);
    store(out + first, result);
  } else {
#pragma unroll 1
    for (int64_t i = first; i < count; ++i) out[i] = fromFloat<T>(function(a ? toFloat(a[i]) : 0.0f, b ? toFloat(b[i]) : 0.0f));
  }
}

/// 16 bytes a thread, and the bytes behind the last 16 one by one.
__global__ void __launch_bounds__(kThreads) copyKernel(int64_t bytes, const unsigned char* from, unsigned char* to) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * static_cast<int64_t>(sizeof(uint4));
  if (first + static_cast<int64_t>(sizeof(uint4)) <= bytes) {
    *reinterpret_cast<uint4*>(to + first) = *reinterpret_cast<const uint4*>(from + first);
  } else {
#pragma unroll 1
    for (int64_t i = first; i < bytes; ++i) to[i] = from[i];
  }
}

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Scale {
  float factor;
  __device__ float operator()(float a, float) const { return factor * a; }
};
struct Clamp {
  float low, high;
  __device__ float operator()(float a, float) const {
    const float above = a < low ? low : a;
    return above > high ? high : above;
  }
};
struct SoftClamp {
  float limit;
  __device__ float operator()(float a, float) const { return limit * tanhf(a / limit); }
};
struct Fill {
  float value;
  __device__ float operator()(float, float) const { return value; }
};

/// a and b may be null: the function does not look at them then.
template <class T, class Function>
void elementwiseIn(cudaStream_t stream, const Tensor* a, const Tensor* b, const Tensor& out, Function function) {
  const int64_t count = out.elements();
  if (count == 0) return;
  const T* pa = a ? elements<const T>(*a) : nullptr;
  const T* pb = b ? elements<const T>(*b) : nullptr;
  T* po = elements<T>(out);
  const auto run = [&](auto kernel, int perThread) {
    launch(stream, kernel, {.grid = dim3(blocksFor(count, int64_t{kThreads} * perThread)), .block = dim3(kThreads)}, count, pa, pb, po, function);
  };
  constexpr int N = kVectorLength<T>;
  if (aligned16(pa, pb, po)) run(elementwiseKernel<N, T, Function>, N);
  else run(elementwiseKernel<1, T, Function>, 1);
}

template <class Function>
void elementwise(cudaStream_t stream, const Tensor* a, const Tensor* b, const Tensor& out, Function function) {
  withComputeType(out.dtype(), [&](auto tag) { elementwiseIn<typename decltype(tag)::Type>(stream, a, b, out, function); });
}

}  // namespace

void add(cudaStream_t stream, const Tensor& a, const Tensor& b, const Tensor& out) { elementwise(stream, &a, &b, out, Add{}); }

void scale(cudaStream_t stream, const Tensor& x, float factor, const Tensor& out) { elementwise(stream, &x, nullptr, out, Scale{factor}); }

void clamp(cudaStream_t stream, const Tensor& x, float low, float high, const Tensor& out) { elementwise(stream, &x, nullptr, out, Clamp{low, high}); }

void softClamp(cudaStream_t stream, const Tensor& x, float limit, const Tensor& out) { elementwiseIn<float>(stream, &x, nullptr, out, SoftClamp{limit}); }

void accumulate(cudaStream_t stream, const Tensor& sum, const Tensor& x) { elementwise(stream, &sum, &x, sum, Add{}); }

void fill(cudaStream_t stream, const Tensor& out, float value) { elementwise(stream, nullptr, nullptr, out, Fill{value}); }

void copy(cudaStream_t stream, const Tensor& out, const Tensor& x) {
  const int64_t bytes = x.bytes();
  if (bytes == 0) return;
  const unsigned char* from = static_cast<const unsigned char*>(x.data());
  unsigned char* to = static_cast<unsigned char*>(out.data());
  // Not cudaMemcpyAsync, which in a graph is the copy engine's: 2.7 TB/s of an H200's 4.2.
  if (aligned16(from, to))
    launch(stream, copyKernel, {.grid = dim3(blocksFor(bytes, kThreads * static_cast<int64_t>(sizeof(uint4)))), .block = dim3(kThreads)}, bytes, from, to);
  else
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream), "copy a tensor");
}

}  // namespace repa::cuda
