// The wrappers of cuda/ptx.h for the CPU: the same names and signatures, and with each the place of its call.
#pragma once

#include <cuda.h>

#include <cmath>
#include <cstdint>

#include "cuda/float16.h"
#include "simt/async_copy.h"
#include "simt/barrier.h"
#include "simt/cluster.h"
#include "simt/global_store.h"
#include "simt/matrix.h"
#include "simt/mbarrier.h"
#include "simt/proxy.h"
#include "simt/registers.h"
#include "simt/tma.h"
#include "simt/vector_types.h"
#include "simt/warp.h"
#include "simt/wgmma.h"

namespace repa::cuda {

using simt::Place;

// ---- ptx_ampere.h

template <class T>
inline constexpr bool isBf16 = false;
template <>
inline constexpr bool isBf16<bf16> = true;

template <class T>
inline void mmaM16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place = Place::current()) {
  simt::mma(isBf16<T> ? simt::Mma::bf16K16 : simt::Mma::f16K16, d, a, b, place);
}
template <class T>
inline void mmaM16N8K8(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1], Place place = Place::current()) {
  simt::mma(isBf16<T> ? simt::Mma::bf16K8 : simt::Mma::f16K8, d, a, b, place);
}
/// Of a NaN a chip keeps the upper bits, quiet or not.
inline uint32_t roundToTf32(float x) {
  const uint32_t bits = detail::floatBits(x);
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return (finite ? bits + 0x1000u : bits) & 0xFFFFE000u;
}
inline void mmaM16N8K8Tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place = Place::current()) {
  simt::mma(simt::Mma::tf32K8, d, a, b, place);
}

template <int count>
inline void ldmatrix(uint32_t (&r)[count], const void* row, Place place = Place::current()) {
  simt::loadMatrices(r, row, count, false, place);
}
template <int count>
inline void ldmatrixTransposed(uint32_t (&r)[count], const void* row, Place place = Place::current()) {
  simt::loadMatrices(r, row, count, true, place);
}

template <int bytes>
inline void cpAsync(void* shared, const void* global, int sourceBytes = bytes, Place place = Place::current()) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
  simt::asyncCopy(shared, global, bytes, sourceBytes, place);
}
inline void cpAsyncCommit() { simt::asyncCommit(); }
template <int newest>
inline void cpAsyncWait() {
  simt::asyncWait(newest);
}

// The chip's approximations differ from these in the last bits.
inline float exp2Approx(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126f ? 0.0f : result;  // .ftz
}
inline float log2Approx(float x) { return std::log2(std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x); }
inline float tanhApprox(float x) { return std::tanh(x); }
inline float reciprocalApprox(float x) { return 1.0f / x; }

inline uint4 loadGlobalReadOnly(const void* global) { return *static_cast<const uint4*>(global); }
/// Words over memory of any type: one access of the compiler's too, so that it is counted as one.
template <int count>
struct [[gnu::may_alias]] alignas(sizeof(uint32_t) * count) Words {
  uint32_t values[count];
};
template <int count>
inline void storeGlobal(void* global, const uint32_t (&words)[count], Place place = Place::current()) {
  simt::checkGlobalStore(global, sizeof words, place);
  Words<count> whole;
  for (int i = 0; i < count; ++i) whole.values[i] = words[i];
  *static_cast<Words<count>*>(global) = whole;
}

inline void namedBarrierSync(int id, int threads, Place place = Place::current()) { simt::barrierSync(id, threads, place); }
inline void namedBarrierArrive(int id, int threads, Place place = Place::current()) { simt::barrierArrive(id, threads, place); }

// ---- ptx_hopper.h

template <int count>
inline void stmatrix(void* row, const uint32_t (&r)[count], Place place = Place::current()) {
  simt::storeMatrices(row, r, count, false, place);
}
template <int count>
inline void stmatrixTransposed(void* row, const uint32_t (&r)[count], Place place = Place::current()) {
  simt::storeMatrices(row, r, count, true, place);
}

inline bool electOne(Place place = Place::current()) { return simt::electLane(0xffffffffu, place); }

template <int registers>
inline void increaseRegisters(Place place = Place::current()) {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg takes a multiple of 8 from 24 to 256");
  simt::setRegisters(registers, true, place);
}
template <int registers>
inline void decreaseRegisters(Place place = Place::current()) {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0, "setmaxnreg takes a multiple of 8 from 24 to 256");
  simt::setRegisters(registers, false, place);
}

inline void gridDependencyWait() {}
inline void gridDependencyLaunch() {}

inline void mbarrierInit(uint64_t* barrier, unsigned arrivals, Place place = Place::current()) {
  simt::mbarrierInit(barrier, arrivals, place);
}
inline void mbarrierInvalidate(uint64_t* barrier, Place place = Place::current()) { simt::mbarrierInvalidate(barrier, place); }
inline void mbarrierArrive(uint64_t* barrier, Place place = Place::current()) { simt::mbarrierArrive(barrier, place); }
inline void mbarrierArriveExpect(uint64_t* barrier, uint32_t bytes, Place place = Place::current()) {
  simt::mbarrierExpect(barrier, bytes, true, place);
}
inline void mbarrierExpect(uint64_t* barrier, uint32_t bytes, Place place = Place::current()) {
  simt::mbarrierExpect(barrier, bytes, false, place);
}
inline bool mbarrierTryWait(uint64_t* barrier, unsigned parity, Place place = Place::current()) {
  return simt::mbarrierTest(barrier, parity, place);
}
inline void mbarrierWait(uint64_t* barrier, unsigned parity, Place place = Place::current()) { simt::mbarrierWait(barrier, parity, place); }

inline void fenceProxyAsync() { simt::fenceProxyAsync(); }
inline void fenceMbarrierInit() { simt::fenceMbarrierInit(); }

enum class L2Hint : uint64_t {
  normal = 0x1000000000000000u,
  evictFirst = 0x12F0000000000000u,
  evictLast = 0x14F0000000000000u,
};

template <int rank>
inline void tmaLoad(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank], Place place = Place::current()) {
  simt::tmaLoad(shared, map, barrier, at, rank, 0, place);
}
template <int rank>
inline void tmaLoad(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank], L2Hint,
                    Place place = Place::current()) {
  simt::tmaLoad(shared, map, barrier, at, rank, 0, place);
}
template <int rank>
inline void tmaLoadMulticast(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank], uint16_t blocks,
                             Place place = Place::current()) {
  simt::tmaLoad(shared, map, barrier, at, rank, blocks, place);
}
template <int rank>
inline void tmaLoadMulticast(void* shared, const CUtensorMap* map, uint64_t* barrier, const int (&at)[rank], uint16_t blocks, L2Hint,
                             Place place = Place::current()) {
  simt::tmaLoad(shared, map, barrier, at, rank, blocks, place);
}
template <int rank>
inline void tmaStore(const CUtensorMap* map, const void* shared, const int (&at)[rank], Place place = Place::current()) {
  simt::tmaStore(map, shared, at, rank, place);
}
inline void tmaPrefetchMap(const CUtensorMap* map, Place place = Place::current()) { simt::tmaCheckMap(map, place); }
inline void bulkCommit() { simt::bulkCommit(); }
template <int newest>
inline void bulkWaitRead() {
  simt::bulkWait(newest);
}
template <int newest>
inline void bulkWait() {
  simt::bulkWait(newest);
}

struct ClusterAddress {
  uint32_t value;
};
inline unsigned clusterRank() { return simt::clusterRank(); }
inline unsigned clusterBlocks() { return simt::clusterBlocks(); }
inline void clusterArrive(Place place = Place::current()) { simt::clusterArrive(place); }
inline void clusterWait(Place place = Place::current()) { simt::clusterWait(place); }
inline ClusterAddress clusterMap(const void* shared, unsigned rank, Place place = Place::current()) {
  return {simt::clusterAddress(shared, rank, place)};
}
inline uint32_t clusterLoad(ClusterAddress address, Place place = Place::current()) {
  uint32_t value;
  simt::clusterRead(&value, address.value, sizeof value, place);
  return value;
}
inline float clusterLoadFloat(ClusterAddress address, Place place = Place::current()) {
  float value;
  simt::clusterRead(&value, address.value, sizeof value, place);
  return value;
}
inline float4 clusterLoadFloat4(ClusterAddress address, Place place = Place::current()) {
  float4 value;
  simt::clusterRead(&value, address.value, sizeof value, place);
  return value;
}
inline void clusterStoreFloat(ClusterAddress address, float value, Place place = Place::current()) {
  simt::clusterWrite(address.value, &value, sizeof value, place);
}
inline void clusterStoreAsync(ClusterAddress address, uint32_t value, ClusterAddress barrier, Place place = Place::current()) {
  simt::clusterWriteAsync(address.value, &value, sizeof value, barrier.value, place);
}
inline void clusterMbarrierArrive(ClusterAddress barrier, Place place = Place::current()) {
  simt::clusterBarrierArrive(barrier.value, place);
}

// ---- ptx_prefetch.h

inline void prefetchToL2(const void* global, unsigned bytes, Place place = Place::current()) { simt::checkPrefetch(global, bytes, place); }

// ---- ptx_wgmma.h

enum class Swizzle : uint64_t { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };
enum class Major : int { k = 0, mn = 1 };

struct MatrixDescriptor {
  uint64_t bits;
};
inline MatrixDescriptor matrixDescriptor(const void* tile, unsigned leadingBytes, unsigned strideBytes, Swizzle swizzle,
                                         Place place = Place::current()) {
  return {simt::matrixDescriptorBits(tile, leadingBytes, strideBytes, static_cast<uint64_t>(swizzle), place)};
}
inline MatrixDescriptor advance(MatrixDescriptor descriptor, unsigned bytes, Place place = Place::current()) {
  return {simt::advancedDescriptorBits(descriptor.bits, bytes, place)};
}

inline void wgmmaFence(Place place = Place::current()) { simt::wgmmaFence(place); }
inline void wgmmaCommit(Place place = Place::current()) { simt::wgmmaCommit(place); }
template <int newest>
inline void wgmmaWait(Place place = Place::current()) {
  simt::wgmmaWait(newest, place);
}

template <int registers>
inline void wgmmaHold(float (&)[registers]) {}

template <class T, int columns, Major majorA = Major::k, Major majorB = Major::k>
inline void wgmma(float (&d)[columns / 2], MatrixDescriptor a, MatrixDescriptor b, bool accumulate = true, Place place = Place::current()) {
  static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256, "wgmma has 8 to 256 columns, in steps of 8");
  const simt::WgmmaShape shape = {columns, !isBf16<T>, false, majorA == Major::mn, majorB == Major::mn, accumulate};
  simt::WgmmaIssue issue = {{shape, a.bits, b.bits, place, nullptr}, d, nullptr, false};
  simt::wgmmaIssue(issue);
}
template <class T, int columns, Major majorB = Major::k>
inline void wgmma(float (&d)[columns / 2], const uint32_t (&a)[4], MatrixDescriptor b, bool accumulate = true,
                  Place place = Place::current()) {
  static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256, "wgmma has 8 to 256 columns, in steps of 8");
  const simt::WgmmaShape shape = {columns, !isBf16<T>, true, false, majorB == Major::mn, accumulate};
  simt::WgmmaIssue issue = {{shape, 0, b.bits, place, nullptr}, d, a, false};
  simt::wgmmaIssue(issue);
}

}  // namespace repa::cuda
