// Kernels with one bug each. Whatever the schedule, each must give a wrong result or a sentence that names it.
#include "simt/test/check.h"
#include "simt/test/expect_failure.h"
#include "simt/test/racy_bugs.h"

namespace repa::cuda::test {

TEST(the_kernels_without_bugs_are_right) {
  underSeeds([](const std::string& seed) {
    expect(layerNormError<layerNorm<>>() < bf16Tolerance, seed + ": layer norm");
    expect(gemmMmaError<bf16, gemmMma<bf16>>() < productTolerance, seed + ": mma, bf16");
    expect(gemmMmaError<f16, gemmMma<f16>>() < productTolerance, seed + ": mma, f16");
    expect(gemmWgmmaError<bf16, gemmWgmma<bf16>>() < productTolerance, seed + ": wgmma, bf16");
    expect(gemmWgmmaError<f16, gemmWgmma<f16>>() < productTolerance, seed + ": wgmma, f16");
    // ThreadSanitizer must know that one lane speaks for what the tensor core has read at whichever lane's wait.
    expect(gemmWgmmaError<bf16, gemmWgmma<bf16, 16384, 0, false, false, true>>() < productTolerance, seed + ": wgmma, one lane arrives");
  });
}

// ---- Found by wrong results.

#if !defined(__SANITIZE_THREAD__)
// Under ThreadSanitizer these are reported: sanitizers_test.cpp.
TEST(races) {
  for (const RacyBug& bug : racyBugs)
    underSeeds([&](const std::string& seed) {
      double error = 0;
      const std::string sentence = failureOf([&] { error = bug.run(); });
      expect(!sentence.empty() || !(error < bug.tolerance), std::string(bug.name) + ", " + seed + ": went unseen");
    });
}
#endif

TEST(wrong_fragment_index) {
  underSeeds([](const std::string& seed) {
    expect(!(gemmMmaError<bf16, gemmMma<bf16, false, 0, 0>>() < productTolerance), seed + ": went unseen");
  });
}

// ---- Found by the shim.

TEST(expect_tx_too_large) {
  expectFailure("deadlock", [] { gemmWgmmaError<bf16, gemmWgmma<bf16, 16384 + 128>>(); });
  expectFailure("128 bytes expected that have not come", [] { gemmWgmmaError<bf16, gemmWgmma<bf16, 16384 + 128>>(); });
}

#if !defined(__SANITIZE_THREAD__)
// These are races too.
TEST(wgmma_result_read_before_its_wait) {
  underSeeds([](const std::string& seed) {
    double error = 0;
    const std::string sentence = failureOf([&] { error = gemmWgmmaError<bf16, gemmWgmma<bf16, 16384, 1>>(); });
    expect(!sentence.empty() || !(error < productTolerance), seed + ": went unseen");
  });
}

TEST(expect_tx_too_small) {
  // Nobody waits for the last stage's second half, so the block may also end before it lands.
  expectFailure("TMA load", [] { gemmWgmmaError<bf16, gemmWgmma<bf16, 8192>>(); });
}
#endif

TEST(wgmma_fence_missing) {
  expectFailure("wgmma.fence is missing", [] { gemmWgmmaError<bf16, gemmWgmma<bf16, 16384, 0, false, true>>(); });
}

__global__ void differentBarriers(float*) {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads();
}
TEST(divergence_between_barriers) {
  expectFailure("divergence: threads of this block wait at different __syncthreads", [] { launchOne(differentBarriers, 64); });
  expectFailure("planted_bugs_test.cpp:", [] { launchOne(differentBarriers, 64); });
}

__global__ void differentCollectives(float* out) {
  out[threadIdx.x] = threadIdx.x < 7 ? __shfl_xor_sync(0xffffffffu, 1.0f, 1) : __ballot_sync(0xffffffffu, 1);
}
TEST(divergence_between_collectives) {
  expectFailure("divergence: this lane comes to", [] { launchOne(differentCollectives, 32); });
}

__global__ void differentMasks(float* out) { out[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u, 1.0f, 1); }
TEST(divergence_between_masks) {
  // Which lanes meet first is a matter of the schedule, and so is the sentence.
  expectFailure("divergence: ", [] { launchOne(differentMasks, 32); });
}

__global__ void exitedLane(float* out) {
  if (threadIdx.x == 31) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
TEST(lane_that_has_exited) {
  expectFailure("divergence", [] { launchOne(exitedLane, 32); });
}

__global__ void divergedMma(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x == 3) mmaM16N8K16<bf16>(d, a, b);
  else mmaM16N8K16<bf16>(d, a, b);
  out[threadIdx.x] = d[0];
}
TEST(divergence_at_mma) {
  expectFailure("is .aligned, but lane", [] { launchOne(divergedMma, 32); });
}

__global__ void halfABarrier(float*) {
  if (threadIdx.x < 32) __syncthreads();
  else namedBarrierSync(1, 96);
}
TEST(deadlock) {
  expectFailure("kernel halfABarrier: deadlock", [] { launchOne(halfABarrier, 64); });
  expectFailure("32 of 64 threads have arrived", [] { launchOne(halfABarrier, 64); });
  expectFailure("32 of 96 threads have arrived", [] { launchOne(halfABarrier, 64); });
  expect(layerNormError<layerNorm<>>() < bf16Tolerance, "the device is unusable after simt::reset()");
}

__global__ void misalignedLdmatrix(float* out) {
  __shared__ __align__(16) unsigned char tile[1024];
  uint32_t r[4];
  ldmatrix(r, tile + threadIdx.x * 18);
  out[threadIdx.x] = r[0];
}
TEST(misaligned_ldmatrix) {
  expectFailure("takes rows at multiples of 16 bytes; this lane's is at tile + ", [] { launchOne(misalignedLdmatrix, 32); });
}

__global__ void misalignedCopy(float* out) {
  __shared__ __align__(16) unsigned char tile[1024];
  cpAsync<16>(tile + threadIdx.x * 16, out + threadIdx.x);
}
TEST(misaligned_copy) {
  expectFailure("cp.async of 16 bytes takes addresses that are multiples of it", [] { launchOne(misalignedCopy, 32); });
}

__global__ void copyPastTheEnd(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  cpAsync<16>(shared + threadIdx.x * 16, out);
}
TEST(copy_past_the_end_of_shared_memory) {
  expectFailure("is not within the block's shared memory", [] { launchOne(copyPastTheEnd, 64, 1008); });
}

__global__ void misalignedStore(float* out) {
  const uint32_t words[4] = {};
  storeGlobal(out + threadIdx.x, words);
}
TEST(misaligned_store) {
  expectFailure("st.global of 16 bytes takes an address that is a multiple of it", [] { launchOne(misalignedStore, 32); });
}

__global__ void storeToShared(float*) {
  __shared__ __align__(16) unsigned char tile[512];
  const uint32_t words[4] = {};
  storeGlobal(tile + threadIdx.x * 16, words);
}
TEST(global_store_to_shared_memory) {
  expectFailure("st.global: the address, tile", [] { launchOne(storeToShared, 32); });
}

__global__ void useAfterInvalidate(float*) {
  __shared__ uint64_t barrier;
  mbarrierInit(&barrier, 1);
  mbarrierInvalidate(&barrier);
  mbarrierArrive(&barrier);
}
TEST(mbarrier_not_initialised) {
  expectFailure("is not initialised", [] { launchOne(useAfterInvalidate, 1); });
}

__global__ void arriveTooOften(float*) {
  __shared__ uint64_t barrier;
  mbarrierInit(&barrier, 1);
  mbarrierExpect(&barrier, 16);
  mbarrierArrive(&barrier);
  mbarrierArrive(&barrier);
}
TEST(mbarrier_arrived_at_too_often) {
  expectFailure("expects 1 arrivals a phase; this is one more", [] { launchOne(arriveTooOften, 1); });
}

__global__ void leaveClusterEarly(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  reinterpret_cast<float*>(shared)[threadIdx.x] = 1;
  clusterArrive();
  clusterWait();
  if (clusterRank() == 0) out[threadIdx.x] = clusterLoadFloat(clusterMap(shared, 1));
}
TEST(block_of_a_cluster_ends_while_another_reads_it) {
  // Whether the other block is gone is a matter of the schedule: some seeds must show it.
  int found = 0;
  underSeeds([&](const std::string&) {
    const std::string sentence = failureOf([] { launchOne(leaveClusterEarly, 32, 1024, 2); });
    if (sentence.find("of the cluster has ended") != std::string::npos) ++found;
  });
  expect(found > 0, "went unseen under all seeds");
}

#if !defined(__SANITIZE_THREAD__)
__global__ void staticSharedInCluster(float* out) {
  __shared__ float value;
  if (threadIdx.x == 0) value = 1;
  __syncthreads();
  out[threadIdx.x] = value;
}
TEST(static_shared_memory_in_a_cluster) {
  expectFailure("wrote the static shared variable value", [] { launchOne(staticSharedInCluster, 32, 0, 2); });
}
#endif

/// The block ends with its tile still to be read.
__global__ void storeWithoutWaiting(const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  for (int i = threadIdx.x; i < 1024; i += blockDim.x) shared[i] = 0;
  fenceProxyAsync();
  __syncwarp();
  if (threadIdx.x != 0) return;
  tmaStore(&map, shared, {0, 0});
  bulkCommit();
}
TEST(tma_store_that_nobody_waits_for) {
  // Where the engine was quick enough nothing is wrong to see.
  int found = 0;
  underSeeds([&](const std::string&) {
    const std::string sentence = failureOf([] {
      DeviceArray<uint16_t> tensor(512);
      const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
      launch(nullptr, storeWithoutWaiting, LaunchShape{.grid = 1, .block = 32, .sharedBytes = 1024}, map);
      check(cudaStreamSynchronize(nullptr), "run a planted bug");
    });
    if (sentence.find("a block ended while a TMA store from its shared memory was under way") != std::string::npos) ++found;
  });
  expect(found > 0, "went unseen under all seeds");
}

/// Hopper calls it an illegal instruction, as it does the next.
__global__ void storeBeforeTheTensor(const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  tmaStore(&map, shared, {0, -3});
  bulkCommit();
  bulkWait<0>();
}
TEST(tma_store_before_the_tensor) {
  expectFailure("this one begins at -3 in dimension 1", [] {
    DeviceArray<uint16_t> tensor(512);
    const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
    launch(nullptr, storeBeforeTheTensor, LaunchShape{.grid = 1, .block = 1, .sharedBytes = 1024}, map);
    check(cudaStreamSynchronize(nullptr), "run a planted bug");
  });
}

__global__ void loadOffSixteenBytes(const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared + 1024);
  mbarrierInit(barrier, 1);
  mbarrierArriveExpect(barrier, 1024);
  tmaLoad(shared, &map, barrier, {-5, 0});
  mbarrierWait(barrier, 0);
}
TEST(tma_box_off_sixteen_bytes) {
  expectFailure("this one begins at element -5 of 2 bytes", [] {
    DeviceArray<uint16_t> tensor(512);
    const CUtensorMap map = tensorMap(tensor.data(), {.extents = {64, 8}, .box = {64, 8}});
    launch(nullptr, loadOffSixteenBytes, LaunchShape{.grid = 1, .block = 1, .sharedBytes = 1088}, map);
    check(cudaStreamSynchronize(nullptr), "run a planted bug");
  });
}

/// Each of two blocks adds to the element.
__global__ void sumWithoutOrder(float* sum) { *sum += static_cast<float>(blockIdx.x + 1); }
TEST(two_blocks_that_add_to_one_element) {
  expectFailure("two blocks wrote byte 3 of an allocation of 4 bytes of device memory differently", [] {
    DeviceArray<float> sum(std::vector<float>{0.0f});
    launch(nullptr, sumWithoutOrder, LaunchShape{.grid = 2, .block = 1}, sum.data());
    check(cudaStreamSynchronize(nullptr), "run a planted bug");
  });
}

/// The second block reads what the first one writes.
__global__ void readWithoutOrder(float* out) { out[blockIdx.x] = blockIdx.x == 0 ? 1.0f : out[0] + 2.0f; }
TEST(a_block_that_reads_what_another_writes) {
  underSeeds([](const std::string& seed) {
    DeviceArray<float> out(std::vector<float>{0.0f, 0.0f});
    launch(nullptr, readWithoutOrder, LaunchShape{.grid = 2, .block = 1}, out.data());
    expect(out.read() == std::vector<float>{1.0f, 2.0f}, seed + ": the first block's write was seen");
  });
}

__global__ void overwrittenBarrier(float*) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared);
  mbarrierInit(barrier, 1);
  shared[7] = 0;
  mbarrierArrive(barrier);
}
TEST(mbarrier_written_over) {
  expectFailure("something was written over it", [] { launchOne(overwrittenBarrier, 1, 64); });
}

#if !defined(__SANITIZE_ADDRESS__)
// Under AddressSanitizer these end the process: sanitizers_test.cpp.
__global__ void writePastShared(float*) {
  REPA_DYNAMIC_SHARED(shared);
  shared[1000 + threadIdx.x] = 1;
}
TEST(plain_write_past_the_end_of_shared_memory) {
  expectFailure("wrote past the end of its 1024 bytes of dynamic shared memory, at byte 1024",
                [] { launchOne(writePastShared, 32, 1024); });
}

TEST(write_past_the_end_of_device_memory) {
  expectFailure("past the end of an allocation", [] { layerNormError<layerNorm<false, 1>>(1); });
}
#endif

}  // namespace repa::cuda::test
