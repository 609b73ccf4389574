// The planted bugs that are races: in the plain build they give wrong results, under ThreadSanitizer they are reported at their lines.
#pragma once

#include <string>

#include "simt/test/demonstrations.h"

namespace repa::cuda::test {

/// Whether the copy engine was quicker is a matter of the schedule: no result shows this one for certain.
static __global__ void readWithoutWaiting(const __grid_constant__ CUtensorMap map, unsigned char* out, int bytes) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared + bytes);
  if (threadIdx.x == 0) {
    mbarrierInit(barrier, 1);
    fenceMbarrierInit();
    mbarrierArriveExpect(barrier, bytes);
    tmaLoad(shared, &map, barrier, {0, 0});
  }
  __syncthreads();
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = shared[i];
  __syncthreads();
  mbarrierWait(barrier, 0);
}

inline double tileReadBeforeItLanded() {
  DeviceArray<uint16_t> tensor(randomBits<uint16_t>(512, 1));
  DeviceArray<unsigned char> out(1024);
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
  launch(nullptr, readWithoutWaiting, LaunchShape{.grid = 1, .block = 32, .sharedBytes = 1088}, map, out.data(), 1024);
  out.read();
  return 0;
}
constexpr double unknowable = -1;  // no error is below it

/// A fence carries over what its own thread has written, or has seen when it executes it: not what others write until the barrier.
static __global__ void storeWithOneFence(const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) shared[i] = 1;
  if (threadIdx.x == 0) fenceProxyAsync();
  __syncthreads();
  if (threadIdx.x != 0) return;
  tmaStore(&map, shared, {0, 0});
  bulkCommit();
  bulkWait<0>();
}

inline double tileStoredWithoutAFence() {
  DeviceArray<uint16_t> tensor(512);
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
  launch(nullptr, storeWithOneFence, LaunchShape{.grid = 1, .block = 64, .sharedBytes = 1024}, map);
  check(cudaStreamSynchronize(nullptr), "run a planted bug");
  return 0;
}

static __global__ void multiplyWithoutFence(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  for (int i = threadIdx.x; i < 8192; i += blockDim.x) shared[i] = 0;
  __syncthreads();
  float sums[32];
  const MatrixDescriptor tile = matrixDescriptor(shared, 0, 1024, Swizzle::bytes128);
  wgmmaFence();
  wgmma<bf16, 64>(sums, tile, tile, false);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(sums);
  out[threadIdx.x] = sums[0];
}

inline double tileMultipliedWithoutAFence() {
  DeviceArray<float> out(128);
  launch(nullptr, multiplyWithoutFence, LaunchShape{.grid = 1, .block = 128, .sharedBytes = 8192}, out.data());
  check(cudaStreamSynchronize(nullptr), "run a planted bug");
  return 0;
}

struct RacyBug {
  const char* name;
  /// The error of the result, NaN included, or a sentence from the shim.
  double (*run)();
  double tolerance;
  /// Where the race is: the file, and what stands on the two lines. Null for what is no race: a thread that waits for too few of its own
  /// copies.
  const char* file;
  const char* oneLine;
  const char* otherLine;
};

inline const RacyBug racyBugs[] = {
    {"missing_barrier", [] { return layerNormError<layerNorm<true>>(); }, bf16Tolerance, "layer_norm.h", "sums[0][warp] = sum;",
     "sum = sums[0][0] + sums[0][1]"},
    {"buffer_reused_too_early", [] { return gemmMmaError<bf16, gemmMma<bf16, true>>(); }, productTolerance, "gemm_mma.h",
     "cpAsync<16>(&tileA[stage]", "ldmatrix(fragmentA[i]"},
    {"wait_group_off_by_one", [] { return gemmMmaError<bf16, gemmMma<bf16, false, 1>>(); }, productTolerance, nullptr, nullptr, nullptr},
    {"stage_refilled_while_it_is_read", [] { return gemmWgmmaError<bf16, gemmWgmma<bf16, 16384, 0, true>>(); }, productTolerance, nullptr,
     nullptr, nullptr},
    {"tile_read_before_it_landed", tileReadBeforeItLanded, unknowable, "racy_bugs.h", "tmaLoad(shared, &map", "out[i] = shared[i]"},
    {"tile_stored_without_a_fence", tileStoredWithoutAFence, unknowable, "racy_bugs.h", "shared[i] = 1;",
     "tmaStore(&map, shared, {0, 0});"},
    {"tile_multiplied_without_a_fence", tileMultipliedWithoutAFence, unknowable, "racy_bugs.h", "shared[i] = 0;",
     "wgmma<bf16, 64>(sums, tile, tile"},
};

}  // namespace repa::cuda::test
