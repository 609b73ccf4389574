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
};

}  // namespace repa::cuda::test
