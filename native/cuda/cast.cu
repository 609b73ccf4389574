// Conversions between element types, with the bits of cpu/cast.h but for a NaN's payload, which the chip does not keep. Bound by
// memory: a thread takes one access of 16 bytes of the wider type and the same elements of the narrower, so that a warp touches
// whole lines of both.
#include "cuda/cast.h"

#include <type_traits>

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

template <class T>
inline constexpr bool isNarrow = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

/// To nearest, ties to even; too large becomes infinite.
template <class To, class From>
__device__ __forceinline__ To convert(From x) {
  if constexpr (isNarrow<From>) return toFloat(x);
  else if constexpr (isNarrow<To>) return fromFloat<To>(x);
  else return static_cast<To>(x);
}

/// N elements a thread, and one at a time at the end that no N divides.
template <int N, class From, class To>
__global__ void __launch_bounds__(kThreads) castKernel(int64_t count, const From* from, To* to) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= count) {
    const Vector<From, N> x = *reinterpret_cast<const Vector<From, N>*>(from + first);
    Vector<To, N> converted;
#pragma unroll
    for (int i = 0; i < N; ++i) converted.values[i] = convert<To>(x.values[i]);
    *reinterpret_cast<Vector<To, N>*>(to + first) = converted;
  } else {
#pragma unroll 1
    for (int64_t i = first; i < count; ++i) to[i] = convert<To>(from[i]);
  }
}

template <class From, class To>
void castElements(cudaStream_t stream, const Tensor& x, const Tensor& out) {
  const int64_t count = x.elements();
  if (count == 0) return;
  const From* from = elements<const From>(x);
  To* to = elements<To>(out);
  const auto run = [&](auto kernel, int perThread) {
    launch(stream, kernel, {.grid = dim3(blocksFor(count, int64_t{kThreads} * perThread)), .block = dim3(kThreads)}, count, from, to);
  };
  constexpr int N = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To));
  if (aligned16(from, to)) run(castKernel<N, From, To>, N);
  else run(castKernel<1, From, To>, 1);
}

}  // namespace

void cast(cudaStream_t stream, const Tensor& x, const Tensor& out) {
  switch (out.dtype()) {
    case DType::bf16: return castElements<float, bf16>(stream, x, out);
    case DType::f16: return castElements<float, f16>(stream, x, out);
    case DType::f64: return castElements<float, double>(stream, x, out);
    default: break;
  }
  switch (x.dtype()) {
    case DType::bf16: return castElements<bf16, float>(stream, x, out);
    case DType::f16: return castElements<f16, float>(stream, x, out);
    case DType::f64: return castElements<double, float>(stream, x, out);
    case DType::u8: return castElements<uint8_t, float>(stream, x, out);
    case DType::i32: return castElements<int32_t, float>(stream, x, out);
    case DType::f32: return;
  }
}

}  // namespace repa::cuda
