// The wrappers of cuda/ptx.h for the CPU: the same names and signatures, and with each the place of its call.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/float16.h"
#include "simt/async_copy.h"
#include "simt/barrier.h"
#include "simt/matrix.h"
#include "simt/vector_types.h"
#include "simt/warp.h"

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
inline uint32_t roundToTf32(float x) {
  const uint32_t bits = detail::floatBits(x);
  if ((bits & 0x7F800000u) == 0x7F800000u) return bits;
  return (bits + 0x1000u) & 0xFFFFE000u;
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
inline uint4 loadGlobalStreaming(const void* global) { return *static_cast<const uint4*>(global); }
inline void storeGlobalStreaming(void* global, const uint4& value) { *static_cast<uint4*>(global) = value; }

inline void namedBarrierSync(int id, int threads, Place place = Place::current()) { simt::barrierSync(id, threads, place); }
inline void namedBarrierArrive(int id, int threads, Place place = Place::current()) { simt::barrierArrive(id, threads, place); }

}  // namespace repa::cuda
