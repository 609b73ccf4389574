// Sums over the lanes of a warp, in one fixed order.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// The sum of all lanes' x, in every lane.
template <class T>
__device__ __forceinline__ T warpSum(T x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(kAll, x, lanes);
  return x;
}

/// The sums of N values at once, N a power of two up to 32: lane (32 / N) i, and those up to the next, get the sum of x[i]. A lane
/// keeps half of its values at every exchange and hands over the others, so that this takes N - 1 + log2(32 / N) shuffles instead of
/// the 5 N of N sums one by one.
template <int N>
__device__ __forceinline__ float warpSums(float (&x)[N], int lane) {
#pragma unroll
  for (int values = N / 2, lanes = 16; lanes > 0; values /= 2, lanes /= 2) {
    const bool upper = (lane & lanes) != 0;
    if (values > 0) {
#pragma unroll
      for (int i = 0; i < values; ++i) {
        const float received = __shfl_xor_sync(kAll, upper ? x[i] : x[i + values], lanes);
        x[i] = (upper ? x[i + values] : x[i]) + received;
      }
    } else {
      x[0] += __shfl_xor_sync(kAll, x[0], lanes);
    }
  }
  return x[0];
}

}  // namespace repa::cuda
