// Demonstration kernel: C[M, N] = A[M, K] B[N, K]^T by TMA, mbarriers and wgmma. Tiles of 64 x 64, steps of 64, two stages; a warpgroup
// multiplies and one more warp loads.
#pragma once

#include <cuda.h>

#include "cuda/kernel.h"

namespace repa::cuda::test {

/// What a block needs of dynamic shared memory.
constexpr size_t gemmWgmmaShared = 2 * 2 * 8192 + 64;

// `oneLaneArrives`: lane 0 says for its warp that a stage has been read, as gemm_sm90.cu's does, where else every thread does.
// Planted bugs: `expected` bytes other than 16384; `pending` groups other than 0 left to run when the sums are used; `forgetEmpty` refills
// a stage without waiting until it was read; `forgetFence` leaves out wgmma.fence.
template <class T, int expected = 16384, int pending = 0, bool forgetEmpty = false, bool forgetFence = false, bool oneLaneArrives = false>
__global__ void __launch_bounds__(160)
    gemmWgmma(const __grid_constant__ CUtensorMap mapA, const __grid_constant__ CUtensorMap mapB, float* c, int n, int k) {
  REPA_DYNAMIC_SHARED(shared);
  unsigned char* tilesA = shared;
  unsigned char* tilesB = shared + 2 * 8192;
  auto* full = reinterpret_cast<uint64_t*>(shared + 4 * 8192);
  uint64_t* empty = full + 2;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const int row0 = blockIdx.y * 64, column0 = blockIdx.x * 64;
  if (thread == 0) {
    for (int stage = 0; stage < 2; ++stage) {
      mbarrierInit(&full[stage], 1);
      mbarrierInit(&empty[stage], oneLaneArrives ? 4 : 128);
    }
    fenceMbarrierInit();
  }
  __syncthreads();
  const int steps = k / 64;
  if (warp == 4) {
    if (lane != 0) return;
    for (int step = 0; step < steps; ++step) {
      const int stage = step % 2;
      if constexpr (!forgetEmpty) mbarrierWait(&empty[stage], (step / 2 + 1) & 1);
      mbarrierArriveExpect(&full[stage], expected);
      tmaLoad(tilesA + stage * 8192, &mapA, &full[stage], {step * 64, row0});
      tmaLoad(tilesB + stage * 8192, &mapB, &full[stage], {step * 64, column0});
    }
    return;
  }
  float sums[32] = {};
  for (int step = 0; step < steps; ++step) {
    const int stage = step % 2;
    mbarrierWait(&full[stage], step / 2 & 1);
    const auto a = matrixDescriptor(tilesA + stage * 8192, 0, 1024, Swizzle::bytes128);
    const auto b = matrixDescriptor(tilesB + stage * 8192, 0, 1024, Swizzle::bytes128);
    if constexpr (!forgetFence) wgmmaFence();
    for (int i = 0; i < 4; ++i) wgmma<T, 64>(sums, advance(a, 32 * i), advance(b, 32 * i));
    wgmmaCommit();
    wgmmaWait<pending>();
    if (!oneLaneArrives || lane == 0) mbarrierArrive(&empty[stage]);
  }
  wgmmaHold(sums);
  for (int i = 0; i < 32; ++i) {
    const size_t row = row0 + 16 * warp + lane / 4 + 8 * (i / 2 % 2);
    c[row * n + column0 + 8 * (i / 4) + 2 * (lane % 4) + i % 2] = sums[i];
  }
}

}  // namespace repa::cuda::test
