// Demonstration kernel: C[M, N] = A[M, K] B[N, K]^T by cp.async, ldmatrix and mma. Tiles of 64 x 64, steps of 16, four warps.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda::test {

// Planted bugs: `forgetBarrier` refills a buffer while other warps may still read it, `pendingTooMany` makes cp.async.wait_group off by
// so many, `fragmentRow` other than 8 loads a wrong fragment.
template <class T, bool forgetBarrier = false, int pendingTooMany = 0, int fragmentRow = 8>
__global__ void __launch_bounds__(128) gemmMma(const T* a, const T* b, float* c, int n, int k) {
  constexpr int pitch = 24;  // 48 bytes: rows of an 8 x 8 matrix fall into different banks
  __shared__ __align__(16) T tileA[2][64][pitch];
  __shared__ __align__(16) T tileB[2][64][pitch];
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int row0 = blockIdx.y * 64, column0 = blockIdx.x * 64;
  const int warpRow = warp / 2 * 32, warpColumn = warp % 2 * 32;
  const auto load = [&](int stage, int k0) {
    const int row = thread / 2, column = thread % 2 * 8;
    cpAsync<16>(&tileA[stage][row][column], a + static_cast<size_t>(row0 + row) * k + k0 + column);
    cpAsync<16>(&tileB[stage][row][column], b + static_cast<size_t>(column0 + row) * k + k0 + column);
    cpAsyncCommit();
  };
  float sums[2][4][4] = {};
  load(0, 0);
  for (int k0 = 0; k0 < k; k0 += 16) {
    const int stage = k0 / 16 % 2;
    if (k0 + 16 < k) {
      load(stage ^ 1, k0 + 16);
      cpAsyncWait<1 + pendingTooMany>();
    } else {
      cpAsyncWait<pendingTooMany>();
    }
    __syncthreads();
    uint32_t fragmentA[2][4], fragmentB[2][4];
    for (int i = 0; i < 2; ++i) ldmatrix(fragmentA[i], &tileA[stage][warpRow + 16 * i + lane % 16][lane / 16 * 8]);
    for (int j = 0; j < 2; ++j)
      ldmatrix(fragmentB[j], &tileB[stage][warpColumn + 16 * j + lane % 8 + lane / 16 * fragmentRow][lane / 8 % 2 * 8]);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) {
        const uint32_t columnB[2] = {fragmentB[j / 2][j % 2 * 2], fragmentB[j / 2][j % 2 * 2 + 1]};
        mmaM16N8K16<T>(sums[i][j], fragmentA[i], columnB);
      }
    if constexpr (!forgetBarrier) __syncthreads();
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j)
      for (int r = 0; r < 4; ++r) {
        const size_t row = row0 + warpRow + 16 * i + lane / 4 + r / 2 * 8;
        c[row * n + column0 + warpColumn + 8 * j + lane % 4 * 2 + r % 2] = sums[i][j][r];
      }
}

}  // namespace repa::cuda::test
