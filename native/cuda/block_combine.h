// What the values of all threads of a block make, in one fixed order.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// combine of all threads' values, by the block's warps and then one value of each, in every thread. `ofWarp`, in shared memory, is
/// nobody else's.
template <int warps, class Combine>
__device__ __forceinline__ float blockCombine(float value, float* ofWarp, Combine combine) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value = combine(value, __shfl_xor_sync(kAll, value, lanes));
  if (threadIdx.x % kWarp == 0) ofWarp[threadIdx.x / kWarp] = value;
  __syncthreads();
  float all = ofWarp[0];
#pragma unroll
  for (int warp = 1; warp < warps; ++warp) all = combine(all, ofWarp[warp]);
  return all;
}

}  // namespace repa::cuda
