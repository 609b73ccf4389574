// The two 16-bit floating-point types, as bits: the same on the device, on its host and under the shim.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define REPA_CUDA_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define REPA_CUDA_HOST_DEVICE inline
#endif

namespace repa::cuda {

/// bfloat16: a float's sign, exponent and upper 7 bits of its significand.
struct bf16 {
  uint16_t bits;
};

/// IEEE 754 binary16.
struct f16 {
  uint16_t bits;
};

/// Two numbers in one register, and two floats that come out of one.
struct FloatPair {
  float lo, hi;
};

namespace detail {

REPA_CUDA_HOST_DEVICE uint32_t floatBits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

REPA_CUDA_HOST_DEVICE float bitsFloat(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// Round to nearest, ties to even; NaN becomes the canonical 0x7FFF, as cvt.rn gives it.
REPA_CUDA_HOST_DEVICE uint16_t bf16BitsOf(float x) {
  const uint32_t bits = floatBits(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFF;
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

REPA_CUDA_HOST_DEVICE uint16_t f16BitsOf(float x) {
  const uint32_t bits = floatBits(x);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  if (magnitude > 0x7F800000u) return 0x7FFF;
  if (magnitude >= 0x477FF000u) return sign | 0x7C00u;  // 65520 and more round to infinity
  if (magnitude < 0x38800000u) {                        // below 2^-14: a multiple of 2^-24, which adding 1/2 rounds to
    const float scaled = bitsFloat(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(floatBits(scaled) - 0x3F000000u);
  }
  const uint32_t rebased = magnitude - 0x38000000u;  // the exponent's bias 127 becomes 15
  return sign | static_cast<uint16_t>((rebased + 0xFFFu + ((rebased >> 13) & 1u)) >> 13);
}

/// NaN becomes the canonical 0x7FFFFFFF, as cvt.f32.f16 gives it.
REPA_CUDA_HOST_DEVICE float f16BitsToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7FFFu;
  if (magnitude > 0x7C00u) return bitsFloat(0x7FFFFFFFu);
  if (magnitude == 0x7C00u) return bitsFloat(sign | 0x7F800000u);
  // As a float with the smaller bias the number is 2^112 too small, subnormal ones included.
  return bitsFloat(floatBits(bitsFloat(magnitude << 13) * 5192296858534827628530496329220096.0f) | sign);
}

}  // namespace detail

REPA_CUDA_HOST_DEVICE float toFloat(bf16 x) { return detail::bitsFloat(static_cast<uint32_t>(x.bits) << 16); }

REPA_CUDA_HOST_DEVICE float toFloat(f16 x) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
#else
  return detail::f16BitsToFloat(x.bits);
#endif
}

REPA_CUDA_HOST_DEVICE float toFloat(float x) { return x; }

/// Round to nearest, ties to even; too large becomes infinite.
template <class T>
REPA_CUDA_HOST_DEVICE T fromFloat(float x);

template <>
REPA_CUDA_HOST_DEVICE bf16 fromFloat<bf16>(float x) {
#if defined(__CUDA_ARCH__)
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  return {detail::bf16BitsOf(x)};
#endif
}

template <>
REPA_CUDA_HOST_DEVICE f16 fromFloat<f16>(float x) {
#if defined(__CUDA_ARCH__)
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  return {detail::f16BitsOf(x)};
#endif
}

template <>
REPA_CUDA_HOST_DEVICE float fromFloat<float>(float x) {
  return x;
}

/// Two rounded numbers in one register, `lo` in its lower half.
template <class T>
REPA_CUDA_HOST_DEVICE uint32_t pack2(float lo, float hi);

template <>
REPA_CUDA_HOST_DEVICE uint32_t pack2<bf16>(float lo, float hi) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(hi), "f"(lo));
  return result;
#else
  return detail::bf16BitsOf(lo) | static_cast<uint32_t>(detail::bf16BitsOf(hi)) << 16;
#endif
}

template <>
REPA_CUDA_HOST_DEVICE uint32_t pack2<f16>(float lo, float hi) {
#if defined(__CUDA_ARCH__)
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(hi), "f"(lo));
  return result;
#else
  return detail::f16BitsOf(lo) | static_cast<uint32_t>(detail::f16BitsOf(hi)) << 16;
#endif
}

template <class T>
REPA_CUDA_HOST_DEVICE FloatPair unpack2(uint32_t pair) {
  return {toFloat(T{static_cast<uint16_t>(pair)}), toFloat(T{static_cast<uint16_t>(pair >> 16)})};
}

/// The upper number is a float but for the lower one's bits: an instruction each.
template <>
REPA_CUDA_HOST_DEVICE FloatPair unpack2<bf16>(uint32_t pair) {
  return {detail::bitsFloat(pair << 16), detail::bitsFloat(pair & 0xFFFF0000u)};
}

}  // namespace repa::cuda
