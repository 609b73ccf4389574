// Instructions of sm_90a, without wgmma. Included by ptx.h. In other device code they do nothing: a kernel that uses them is not launched
// there.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/ptx_ampere.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define REPA_SM90A_ASM(...) asm volatile(__VA_ARGS__)
#else
#define REPA_SM90A_ASM(...) (void)0
#endif

namespace repa::cuda {

// ---- The reverse of ldmatrix: 8 x 8 matrices of 16-bit elements to shared memory. 9.7.14.5.16.

__device__ __forceinline__ void stmatrix(void* row, const uint32_t (&r)[2]) {
  REPA_SM90A_ASM("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};" ::"r"(sharedAddress(row)), "r"(r[0]), "r"(r[1]) : "memory");
}
__device__ __forceinline__ void stmatrix(void* row, const uint32_t (&r)[4]) {
  REPA_SM90A_ASM("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(sharedAddress(row)), "r"(r[0]), "r"(r[1]), "r"(r[2]),
                 "r"(r[3])
                 : "memory");
}
__device__ __forceinline__ void stmatrixTransposed(void* row, const uint32_t (&r)[2]) {
  REPA_SM90A_ASM("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1,%2};" ::"r"(sharedAddress(row)), "r"(r[0]),
                 "r"(r[1]) : "memory");
}
__device__ __forceinline__ void stmatrixTransposed(void* row, const uint32_t (&r)[4]) {
  REPA_SM90A_ASM("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(sharedAddress(row)), "r"(r[0]), "r"(r[1]),
                 "r"(r[2]), "r"(r[3])
                 : "memory");
}

// ---- Warps and launches.

/// True in one lane of a whole warp. 9.7.13.14.
__device__ __forceinline__ bool electOne() {
  uint32_t elected = 0;
  REPA_SM90A_ASM("{\n .reg .pred p;\n elect.sync _|p, 0xffffffff;\n selp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
}

/// Changes how many registers each thread of this warpgroup may use; all four warps execute it. 9.7.19.5.
template <int registers>
__device__ __forceinline__ void increaseRegisters() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg takes a multiple of 8 from 24 to 256");
  REPA_SM90A_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void decreaseRegisters() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg takes a multiple of 8 from 24 to 256");
  REPA_SM90A_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

/// Waits until the launches before this one have ended and their writes are seen. 9.7.13.13.
__device__ __forceinline__ void gridDependencyWait() { REPA_SM90A_ASM("griddepcontrol.wait;" ::: "memory"); }
/// Lets the launch after this one begin, up to its gridDependencyWait.
__device__ __forceinline__ void gridDependencyLaunch() { REPA_SM90A_ASM("griddepcontrol.launch_dependents;" ::: "memory"); }

// ---- mbarrier: arrivals and bytes counted in phases. 9.7.13.15. The phase of parity p is over once the barrier works on parity 1 - p; a
// new barrier works on the phase of parity 0, so waiting for parity 1 does not wait.

__device__ __forceinline__ void mbarrierInit(uint64_t* barrier, unsigned arrivals) {
  REPA_SM90A_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void mbarrierInvalidate(uint64_t* barrier) {
  REPA_SM90A_ASM("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(sharedAddress(barrier)) : "memory");
}

__device__ __forceinline__ void mbarrierArrive(uint64_t* barrier) {
  REPA_SM90A_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(barrier)) : "memory");
}

/// Expects bytes of copies in this phase, then arrives.
__device__ __forceinline__ void mbarrierArriveExpect(uint64_t* barrier, uint32_t bytes) {
  REPA_SM90A_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes) : "memory");
}

__device__ __forceinline__ void mbarrierExpect(uint64_t* barrier, uint32_t bytes) {
  REPA_SM90A_ASM("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes) : "memory");
}

/// Whether the phase of this parity is over. May wait for a while before it says no.
__device__ __forceinline__ bool mbarrierTryWait(uint64_t* barrier, unsigned parity) {
  uint32_t over = 1;
  REPA_SM90A_ASM("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(over)
                 : "r"(sharedAddress(barrier)), "r"(parity)
                 : "memory");
  return over != 0;
}

__device__ __forceinline__ void mbarrierWait(uint64_t* barrier, unsigned parity) {
  while (!mbarrierTryWait(barrier, parity)) {
  }
}

/// Makes this thread's writes to shared memory visible to the TMA and wgmma. 9.7.13.4 (proxies: 8.6).
__device__ __forceinline__ void fenceProxyAsync() { REPA_SM90A_ASM("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Makes mbarrierInit visible to the TMA and to the cluster's other blocks.
__device__ __forceinline__ void fenceMbarrierInit() { REPA_SM90A_ASM("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// ---- The tensor memory accelerator. 9.7.9.27. One thread issues for all. `at` is where the box begins in the tensor, the contiguous
// dimension first; what lies outside of the tensor is read as zeros and not written. Tiles stand at multiples of 128 bytes.

/// How long a line should stay in L2: the policies that createpolicy.fractional makes for a fraction of 1.
enum class L2Hint : uint64_t {
  normal = 0x1000000000000000u,
  evictFirst = 0x12F0000000000000u,
  evictLast = 0x14F0000000000000u,
};

/// Loads a box and then completes its bytes on the barrier.
template <int rank>
__device__ __forceinline__ void tmaLoad(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank],
                                        L2Hint hint = L2Hint::normal) {
  static_assert(rank >= 2 && rank <= 4, "tensor maps have 2 to 4 dimensions here");
  if constexpr (rank == 2) {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%4,%5}], [%2], %3;" ::
            "r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1]) : "memory");
  } else if constexpr (rank == 3) {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%4,%5,%6}], [%2], "
        "%3;" ::"r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1]), "r"(at[2]) : "memory");
  } else {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%4,%5,%6,%7}], [%2], "
        "%3;" ::"r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]) : "memory");
  }
}

/// The same into several blocks of the cluster: bit r of `blocks` is the block of rank r. Tile and barrier stand at the same offsets in
/// each.
template <int rank>
__device__ __forceinline__ void tmaLoadMulticast(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank],
                                                 uint16_t blocks, L2Hint hint = L2Hint::normal) {
  static_assert(rank >= 2 && rank <= 4, "tensor maps have 2 to 4 dimensions here");
  if constexpr (rank == 2) {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
        "[%0], [%1, {%5,%6}], [%2], %3, %4;" ::"r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "h"(blocks), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1])
        : "memory");
  } else if constexpr (rank == 3) {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
        "[%0], [%1, {%5,%6,%7}], [%2], %3, %4;" ::"r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "h"(blocks), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  } else {
    REPA_SM90A_ASM(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
        "[%0], [%1, {%5,%6,%7,%8}], [%2], %3, %4;" ::"r"(sharedAddress(shared)),
        "l"(map), "r"(sharedAddress(barrier)), "h"(blocks), "l"(static_cast<uint64_t>(hint)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  }
}

/// Stores a box. Its source may be written again after bulkWaitRead, and must stay until then: also at the block's end.
template <int rank>
__device__ __forceinline__ void tmaStore(const CUtensorMap* map, const void* shared, const int (&at)[rank]) {
  static_assert(rank >= 2 && rank <= 4, "tensor maps have 2 to 4 dimensions here");
  if constexpr (rank == 2) {
    REPA_SM90A_ASM("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2,%3}], [%1];" ::"l"(map), "r"(sharedAddress(shared)),
                   "r"(at[0]), "r"(at[1])
                   : "memory");
  } else if constexpr (rank == 3) {
    REPA_SM90A_ASM("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4}], [%1];" ::"l"(map),
                   "r"(sharedAddress(shared)), "r"(at[0]), "r"(at[1]), "r"(at[2]) : "memory");
  } else {
    REPA_SM90A_ASM("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2,%3,%4,%5}], [%1];" ::"l"(map),
                   "r"(sharedAddress(shared)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                   : "memory");
  }
}

/// Closes a group of this thread's stores.
__device__ __forceinline__ void bulkCommit() { REPA_SM90A_ASM("cp.async.bulk.commit_group;" ::: "memory"); }

/// Returns when all but the `newest` latest groups have read their sources.
template <int newest>
__device__ __forceinline__ void bulkWaitRead() {
  REPA_SM90A_ASM("cp.async.bulk.wait_group.read %0;" ::"n"(newest) : "memory");
}
/// Returns when all but the `newest` latest groups have been written.
template <int newest>
__device__ __forceinline__ void bulkWait() {
  REPA_SM90A_ASM("cp.async.bulk.wait_group %0;" ::"n"(newest) : "memory");
}

__device__ __forceinline__ void tmaPrefetchMap(const CUtensorMap* map) { REPA_SM90A_ASM("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

// ---- Clusters: blocks that run together and see each other's shared memory. 9.7.13.3, 9.7.9.23.

/// An address in some block of the cluster.
struct ClusterAddress {
  uint32_t value;
};

__device__ __forceinline__ unsigned clusterRank() {
  uint32_t rank = 0;
  REPA_SM90A_ASM("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ __forceinline__ unsigned clusterBlocks() {
  uint32_t blocks = 1;
  REPA_SM90A_ASM("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}

/// All threads of the cluster arrive, and none goes beyond clusterWait before. Accesses before the one are seen after the other.
__device__ __forceinline__ void clusterArrive() { REPA_SM90A_ASM("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ __forceinline__ void clusterWait() { REPA_SM90A_ASM("barrier.cluster.wait.acquire;" ::: "memory"); }

/// What stands in the block of this rank where `shared` stands in this block.
__device__ __forceinline__ ClusterAddress clusterMap(const void* shared, unsigned rank) {
  ClusterAddress address = {0};
  REPA_SM90A_ASM("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address.value) : "r"(sharedAddress(shared)), "r"(rank));
  return address;
}

__device__ __forceinline__ uint32_t clusterLoad(ClusterAddress address) {
  uint32_t value = 0;
  REPA_SM90A_ASM("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(address.value) : "memory");
  return value;
}

__device__ __forceinline__ float clusterLoadFloat(ClusterAddress address) {
  float value = 0;
  REPA_SM90A_ASM("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address.value) : "memory");
  return value;
}

__device__ __forceinline__ float4 clusterLoadFloat4(ClusterAddress address) {
  float4 value = {};
  REPA_SM90A_ASM("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(address.value)
                 : "memory");
  return value;
}

__device__ __forceinline__ void clusterStoreFloat(ClusterAddress address, float value) {
  REPA_SM90A_ASM("st.shared::cluster.f32 [%0], %1;" ::"r"(address.value), "f"(value) : "memory");
}

/// Stores and then completes 4 bytes on a barrier of the same block.
__device__ __forceinline__ void clusterStoreAsync(ClusterAddress address, uint32_t value, ClusterAddress barrier) {
  REPA_SM90A_ASM("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(address.value), "r"(value),
                 "r"(barrier.value)
                 : "memory");
}

__device__ __forceinline__ void clusterMbarrierArrive(ClusterAddress barrier) {
  REPA_SM90A_ASM("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(barrier.value) : "memory");
}

}  // namespace repa::cuda
