// Elementary functions on Vec. Errors are against the exact function, over the whole float range unless said.
#pragma once

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {

/// e^x, within 1.5 ulp; +inf above 88.72, 0 below -87.34 (no denormals); NaN stays NaN.
/// x = n ln2 + r with |r| <= ln2/2; e^r by its degree-7 Taylor polynomial; 2^n into the exponent in two halves.
static inline Vec exp(Vec x) {
  const Vec clamped = minimum(maximum(x, splat(-87.34f)), splat(88.73f));
  const Vec shifter = splat(12582912.0f);  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const Vec n = (clamped * 1.44269504088896341f + shifter) - shifter;
  Vec r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = splat(1.98412698e-4f);
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const IntVec exponent = toInt(n);
  const IntVec half = exponent >> 1;
  const Vec scaled = p * asFloat((half + 127) << 23) * asFloat((exponent - half + 127) << 23);
  const Vec tamed = x < -87.34f ? Vec{} : scaled;
  return x == x ? tamed : x;
}

/// 1 / (1 + e^-x).
static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

/// x * sigmoid(x), torch's SiLU.
static inline Vec silu(Vec x) { return x * sigmoid(x); }

/// d silu / dx.
static inline Vec siluDerivative(Vec x) {
  const Vec s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

// GELU's tanh form: 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
static inline Vec geluTanhArgument(Vec x) { return x * (1.5957691216057308f + 0.07135481627164025f * x * x); }

/// torch's GELU(approximate="tanh").
static inline Vec geluTanh(Vec x) { return x * sigmoid(geluTanhArgument(x)); }

/// d geluTanh / dx.
static inline Vec geluTanhDerivative(Vec x) {
  const Vec s = sigmoid(geluTanhArgument(x));
  const Vec slope = 1.5957691216057308f + 0.2140644488149207f * x * x;
  return s + x * s * (1.0f - s) * slope;
}

}  // namespace repa::cpu::REPA_LEVEL
