// Softmax over rows, one block a row: the largest and the sum of a first pass over the row, the shares of a second, which finds the row
// in the caches. Bound by memory; sums join in a fixed order.
#include "cuda/softmax.h"

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// The sum of e^(x - largest) over what was seen.
struct Partial {
  float largest, sum;
};

__device__ __forceinline__ Partial together(const Partial& a, const Partial& b) {
  const float largest = fmaxf(a.largest, b.largest);
  // Nothing seen, than which no number is less; or NaN, which fmaxf leaves out, and whose row is to be it.
  if (largest == -INFINITY) return {largest, a.largest == b.largest ? a.sum + b.sum : NAN};
  return {largest, a.sum * expf(a.largest - largest) + b.sum * expf(b.largest - largest)};
}

template <class T>
__global__ void __launch_bounds__(kThreads) softmaxKernel(int64_t columns, float scale, const float* x, T* out) {
  __shared__ Partial joined[kThreads];
  x += int64_t{blockIdx.x} * columns;
  out += int64_t{blockIdx.x} * columns;
  Partial mine = {-INFINITY, 0.0f};
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) mine = together(mine, {scale * x[i], 1.0f});
  joined[threadIdx.x] = mine;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) joined[threadIdx.x] = together(joined[threadIdx.x], joined[threadIdx.x + half]);
  }
  __syncthreads();
  const Partial all = joined[0];
  const float share = 1.0f / all.sum;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) out[i] = fromFloat<T>(share * expf(scale * x[i] - all.largest));
}

}  // namespace

void softmax(cudaStream_t stream, const cpu::SoftmaxArgs& args, const Tensor& out) {
  withComputeType(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const LaunchShape shape{.grid = dim3(blocksFor(args.rows, 1)), .block = dim3(kThreads)};
    launch(stream, softmaxKernel<T>, shape, args.columns, args.scale, args.x, elements<T>(out));
  });
}

}  // namespace repa::cuda
