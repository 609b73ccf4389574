// Standard normal numbers from random bits, with the same bits on every machine.
//
// Box and Muller (1958): for uniform u in (0, 1) and v in [0, 1),
//     r cos(2 pi v) and r sin(2 pi v), with r = sqrt(-2 ln u),
// are two independent standard normal numbers. Math libraries differ in the last bits of ln, sin and cos, and compilers
// differ in which a * b + c they fuse. So ln, sin and cos are polynomials in integer fixed point here, exact by
// definition anywhere; what is left in floating point are conversions, one square root and one product for each number,
// which IEEE 754 rounds in one way only and which nothing can be fused with.
//
// Qk below is an integer that stands for itself times 2^-k. Polynomials interpolate at Chebyshev nodes.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace repa {

struct NormalPair {
  float first, second;
};

REPA_HOST_DEVICE static inline int leadingZeros(uint64_t nonzero) {
#if defined(__CUDA_ARCH__)
  return __clzll(static_cast<long long>(nonzero));
#else
  return __builtin_clzll(nonzero);
#endif
}

/// IEEE 754's square root and product, rounded to nearest.
REPA_HOST_DEVICE static inline float roundedSqrt(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

REPA_HOST_DEVICE static inline float roundedProduct(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

/// -ln((bits + 1/2) / 2^32) in Q58, at least 2^25; relative error below 4e-9.
REPA_HOST_DEVICE static inline int64_t negativeLogQ58(uint32_t bits) {
  // u = odd / 2^33 = m 2^-n with m in [sqrt(1/2), sqrt(2)), so that -ln u = n ln 2 - ln m never cancels.
  const uint64_t odd = 2 * uint64_t{bits} + 1;
  const int shift = leadingZeros(odd) - 30;
  const int64_t significand = static_cast<int64_t>(odd << shift);  // Q33, in [1, 2)
  const bool aboveSqrt2 = significand >= 12148002000;              // ceil(sqrt(2) 2^33)
  const int64_t n = aboveSqrt2 ? shift - 1 : shift;
  const int64_t f = (aboveSqrt2 ? significand : 2 * significand) - (int64_t{1} << 34);  // m - 1 in Q34, exact
  // ln(1 + f) / f in Q29, to 9e-10.
  int64_t q = 35284915;
  q = -62387882 + ((q * f) >> 34);
  q = 64133945 + ((q * f) >> 34);
  q = -66683776 + ((q * f) >> 34);
  q = 76301658 + ((q * f) >> 34);
  q = -89477889 + ((q * f) >> 34);
  q = 107387796 + ((q * f) >> 34);
  q = -134218063 + ((q * f) >> 34);
  q = 178956806 + ((q * f) >> 34);
  q = -268435453 + ((q * f) >> 34);
  q = 536870912 + ((q * f) >> 34);
  return n * 199786072581291495 - ((f * q) >> 5);  // ln 2 in Q58
}

/// cos and sin of 2 pi bits / 2^32, times radius.
REPA_HOST_DEVICE static inline NormalPair onCircle(float radius, uint32_t bits) {
  // The angle is quadrant * pi/2 + x * pi/2 with x in [-1/2, 1/2).
  const uint32_t quadrant = (bits + 0x20000000u) >> 30;
  const int64_t x = static_cast<int32_t>(bits - (quadrant << 30));  // Q30
  const int64_t z = (x * x) >> 28;                                  // x^2 in Q32
  // sin(pi x / 2) / x to 7e-12 and cos(pi x / 2) to 5e-11, before they are rounded to Q30.
  int64_t s = 169873;
  s = -5026471 + ((s * z) >> 32);
  s = 85569259 + ((s * z) >> 32);
  s = -693598667 + ((s * z) >> 32);
  s = 1686629713 + ((s * z) >> 32);
  int64_t c = 970263;
  c = -22398329 + ((c * z) >> 32);
  c = 272375233 + ((c * z) >> 32);
  c = -1324675869 + ((c * z) >> 32);
  c = 1073741824 + ((c * z) >> 32);
  const int64_t sine = x * s;           // Q60
  const int64_t cosine = c * (1 << 30);  // Q60
  // (cos, sin) of the whole angle: (c, s), (-s, c), (-c, -s), (s, -c) in the four quadrants.
  const bool swap = quadrant & 1;
  const int64_t whole0 = swap ? sine : cosine;
  const int64_t whole1 = swap ? cosine : sine;
  const int64_t signed0 = (quadrant + 1) & 2 ? -whole0 : whole0;
  const int64_t signed1 = quadrant & 2 ? -whole1 : whole1;
  const float unit = 1.0f / 1152921504606846976.0f;  // 2^-60
  return {roundedProduct(radius, static_cast<float>(signed0) * unit),
          roundedProduct(radius, static_cast<float>(signed1) * unit)};
}

/// Two standard normal numbers from two words. |number| <= 6.77; each is within 4 half-ulps of the exact transform.
REPA_HOST_DEVICE static inline NormalPair boxMuller(uint32_t radiusBits, uint32_t angleBits) {
  const float unit = 1.0f / 144115188075855872.0f;  // 2^-57: Q58, twice
  const float radius = roundedSqrt(static_cast<float>(negativeLogQ58(radiusBits)) * unit);
  return onCircle(radius, angleBits);
}

/// Normal numbers 4 * block .. 4 * block + 3 of a position.
REPA_HOST_DEVICE static inline void normalNumbers(const RandomPosition& position, uint64_t block, float* number) {
  const PhiloxBlock bits = randomBlock(position, block);
  const NormalPair a = boxMuller(bits.word[0], bits.word[1]);
  const NormalPair b = boxMuller(bits.word[2], bits.word[3]);
  number[0] = a.first;
  number[1] = a.second;
  number[2] = b.first;
  number[3] = b.second;
}

/// Normal number `element`, alone.
REPA_HOST_DEVICE static inline float normalNumber(const RandomPosition& position, int64_t element) {
  float number[4];
  normalNumbers(position, static_cast<uint64_t>(element / 4), number);
  return number[element % 4];
}

}  // namespace repa
