// Rows made up with zeros. A thread writes one element, neighbouring threads neighbouring ones. Bound by memory, and small: a weight.
#include "cuda/pad_rows.h"

#include "cuda/blocks.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) padRowsKernel(int64_t count, int64_t width, int64_t outWidth, const uint16_t* x, uint16_t* out) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  const int64_t row = index / outWidth, column = index % outWidth;
  out[index] = column < width ? x[row * width + column] : uint16_t{0};
}

}  // namespace

void padRows(cudaStream_t stream, const Tensor& x, const Tensor& out) {
  const int64_t count = out.elements();
  if (count == 0) return;
  launch(stream, padRowsKernel, {.grid = dim3(blocksFor(count, kThreads)), .block = dim3(kThreads)}, count, x.size(1), out.size(1),
         static_cast<const uint16_t*>(x.data()), static_cast<uint16_t*>(out.data()));
}

}  // namespace repa::cuda
