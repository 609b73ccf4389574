// The sum over the threads of a block, in one fixed order.
#pragma once

#include "cuda/warp_sum.h"

namespace repa::cuda {

/// The sum of all threads' values, in thread 0: a butterfly over each warp, then over the warps. Once in a kernel, or with a barrier between.
template <int threads>
__device__ __forceinline__ double blockSum(double value) {
  constexpr int warps = threads / kWarp;
  __shared__ double ofWarp[warps];
  value = warpSum(value);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (lane == 0) ofWarp[warp] = value;
  __syncthreads();
  if (warp > 0) return 0;
  return warpSum(lane < warps ? ofWarp[lane] : 0);
}

}  // namespace repa::cuda
