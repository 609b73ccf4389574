// What a chip asks of a kernel and a CPU would not miss: each rule broken by a kernel, which must fail with a sentence that names it.
#include "cuda/kernel.h"
#include "cuda/ptx_prefetch.h"
#include "simt/test/check.h"
#include "simt/test/expect_failure.h"
#include "simt/test/tensor_map.h"

namespace repa::cuda::test {

/// Runs a kernel that takes a map of a matrix of 8 x 64.
void launchWithMap(void (*kernel)(CUtensorMap)) {
  DeviceArray<uint16_t> tensor(512);
  const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
  launch(nullptr, kernel, LaunchShape{.grid = 1, .block = 32, .sharedBytes = 1088}, map);
  check(cudaStreamSynchronize(nullptr), "run a planted bug");
}

// ---- mbarriers

/// The fence is another thread's than the initialisation.
__global__ void loadWithoutInitFence(const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared + 1024);
  if (threadIdx.x == 0) mbarrierInit(barrier, 1);
  if (threadIdx.x == 1) fenceMbarrierInit();
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrierArriveExpect(barrier, 1024);
    tmaLoad(shared, &map, barrier, {0, 0});
  }
  mbarrierWait(barrier, 0);
}
TEST(mbarrier_that_no_fence_makes_visible) {
  expectFailure("but no fence.mbarrier_init follows its initialisation", [] { launchWithMap(loadWithoutInitFence); });
}

__global__ void initialiseTwice(float*) {
  REPA_DYNAMIC_SHARED(shared);
  mbarrierInit(reinterpret_cast<uint64_t*>(shared), 1);
  mbarrierInit(reinterpret_cast<uint64_t*>(shared), 2);
}
TEST(mbarrier_initialised_twice) {
  expectFailure("is initialised again; mbarrier.inval comes before that", [] { launchOne(initialiseTwice, 1, 64); });
}

// ---- Registers

/// 168 registers a thread at launch: 256 threads with 240 take more than a third of the threads gives back with 40.
__global__ void takeTooManyRegisters(float*) {
  if (threadIdx.x < 128) decreaseRegisters<40>();
  else increaseRegisters<240>();
}
TEST(more_registers_than_there_are) {
  expectFailure("in setmaxnreg.inc for registers", [] { launchOne(takeTooManyRegisters, 384); });
  expectFailure("deadlock", [] { launchOne(takeTooManyRegisters, 384); });
}

__global__ void takeTheRegistersThereAre(float*) {
  if (threadIdx.x < 128) decreaseRegisters<24>();
  else increaseRegisters<240>();
}
TEST(as_many_registers_as_there_are) {
  underSeeds([](const std::string&) { launchOne(takeTheRegistersThereAre, 384); });
}

__global__ void changeHalfAWarpgroup(float*) {
  if (threadIdx.x < 64) decreaseRegisters<40>();
}
TEST(registers_of_half_a_warpgroup) {
  expectFailure("some warps of a warpgroup executed a setmaxnreg that others did not", [] { launchOne(changeHalfAWarpgroup, 128); });
}

__global__ void decreaseToMore(float*) { decreaseRegisters<176>(); }
TEST(registers_decreased_to_more) {
  expectFailure("setmaxnreg.dec to 176 registers: a thread has 168", [] { launchOne(decreaseToMore, 384); });
}

// ---- wgmma

__global__ void changeLeftWithoutFence(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  const MatrixDescriptor tile = matrixDescriptor(shared, 0, 1024, Swizzle::bytes128);
  uint32_t left[4] = {};
  float sums[32];
  wgmmaFence();
  wgmma<bf16, 64>(sums, left, tile, false);
  wgmmaCommit();
  left[0] = threadIdx.x;
  wgmma<bf16, 64>(sums, left, tile);
  wgmmaCommit();
  wgmmaWait<0>();
  out[threadIdx.x] = sums[0];
}
TEST(wgmma_fence_missing_after_a_change_of_a) {
  expectFailure("between what the threads did to A's registers and this wgmma", [] { launchOne(changeLeftWithoutFence, 128, 8192); });
}

template <int bytes>
__global__ void offsetThatDoesNotFit(float*) {
  REPA_DYNAMIC_SHARED(shared);
  matrixDescriptor(shared, static_cast<unsigned>(bytes), 128, Swizzle::none);
}
TEST(matrix_descriptor_whose_offset_does_not_fit) {
  expectFailure("a matrix descriptor's offsets are multiples of 16 bytes below 262144, not -1024",
                [] { launchOne(offsetThatDoesNotFit<-1024>, 1, 4096); });
  expectFailure("not 262144", [] { launchOne(offsetThatDoesNotFit<262144>, 1, 4096); });
  expectFailure("not 24", [] { launchOne(offsetThatDoesNotFit<24>, 1, 4096); });
}

__global__ void tileOffItsPattern(float*) {
  REPA_DYNAMIC_SHARED(shared);
  matrixDescriptor(shared + 512, 0, 1024, Swizzle::bytes128);
}
TEST(swizzled_tile_off_its_pattern) {
  expectFailure("a tile of this swizzle starts at a multiple of 1024 bytes; this one is at dynamic shared memory + 512",
                [] { launchOne(tileOffItsPattern, 1, 4096); });
}

__global__ void advanceByEight(float*) {
  REPA_DYNAMIC_SHARED(shared);
  advance(matrixDescriptor(shared, 0, 1024, Swizzle::bytes128), 8);
}
TEST(matrix_descriptor_advanced_by_a_part_of_a_unit) {
  expectFailure("a matrix descriptor cannot be advanced by 8 bytes", [] { launchOne(advanceByEight, 1, 4096); });
}

// ---- Prefetches

__global__ void prefetchEightBytes(float* out) { prefetchToL2(out, 8); }
__global__ void prefetchOffAUnit(float* out) { prefetchToL2(out + 1, 16); }
TEST(misaligned_prefetch) {
  for (const auto kernel : {prefetchEightBytes, prefetchOffAUnit})
    expectFailure("cp.async.bulk.prefetch takes an address and a number of bytes that are multiples of 16", [&] { launchOne(kernel, 1); });
}

}  // namespace repa::cuda::test
