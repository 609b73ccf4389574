// Demonstration kernel: y = (x - mean) / sqrt(var + eps) * (1 + scale) + shift, one block of 128 threads a row.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda::test {


/// `forgetBarrier` plants a missing __syncthreads, `overrun` a write past the row's end.
template <bool forgetBarrier = false, int overrun = 0>
__global__ void __launch_bounds__(128) layerNorm(const float* x, const float* scale, const float* shift, bf16* y, int width) {
  __shared__ float sums[2][4];
  const float* row = x + static_cast<size_t>(blockIdx.x) * width;
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < width; i += 128) {
    sum += row[i];
    squares += row[i] * row[i];
  }
  for (int lanes = 16; lanes; lanes >>= 1) {
    sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
    squares += __shfl_xor_sync(0xffffffffu, squares, lanes);
  }
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) {
    sums[0][warp] = sum;
    sums[1][warp] = squares;
  }
  if constexpr (!forgetBarrier) __syncthreads();
  sum = sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3];
  squares = sums[1][0] + sums[1][1] + sums[1][2] + sums[1][3];
  const float mean = sum / width;
  const float inverse = rsqrtf(squares / width - mean * mean + 1e-6f);
  for (int i = threadIdx.x; i < width + overrun; i += 128) {
    const int column = i < width ? i : 0;
    y[static_cast<size_t>(blockIdx.x) * width + i] =
        fromFloat<bf16>((row[column] - mean) * inverse * (1.0f + scale[column]) + shift[column]);
  }
}

}  // namespace repa::cuda::test
