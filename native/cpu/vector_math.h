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

static inline Vec squareRoot(Vec x) {
  // The compiler makes one instruction of it.
  Vec root;
  for (int lane = 0; lane < kLanes; ++lane) root[lane] = __builtin_sqrtf(x[lane]);
  return root;
}

/// 1 / (1 + e^-x).
static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

/// x * sigmoid(x), torch's SiLU.
static inline Vec silu(Vec x) { return x * sigmoid(x); }

/// sigmoid(x) and 1 - sigmoid(x) = e^-x sigmoid(x), which keeps its digits where sigmoid(x) is nearly 1. Where e^-x is beyond
/// float32 both are 0: the second only ever meets the first as a factor, and infinity times 0 would be NaN.
struct SigmoidPair {
  Vec s;
  Vec oneMinus;
};
static inline SigmoidPair sigmoidPair(Vec x) {
  const Vec e = exp(-x);
  const Vec s = 1.0f / (1.0f + e);
  return {s, minimum(e, splat(3.0e38f)) * s};
}

/// d silu / dx.
static inline Vec siluDerivative(Vec x) {
  const SigmoidPair p = sigmoidPair(x);
  return p.s * (1.0f + x * p.oneMinus);
}

/// CLIP's QuickGELU, x sigmoid(1.702 x).
static inline Vec quickGelu(Vec x) { return x * sigmoid(1.702f * x); }

/// d quickGelu / dx.
static inline Vec quickGeluDerivative(Vec x) {
  const SigmoidPair p = sigmoidPair(1.702f * x);
  return p.s * (1.0f + 1.702f * x * p.oneMinus);
}

// GELU's tanh form: 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
static inline Vec geluTanhArgument(Vec x) { return x * (1.5957691216057308f + 0.07135481627164025f * x * x); }

/// torch's GELU(approximate="tanh").
static inline Vec geluTanh(Vec x) { return x * sigmoid(geluTanhArgument(x)); }

/// d geluTanh / dx.
static inline Vec geluTanhDerivative(Vec x) {
  const SigmoidPair p = sigmoidPair(geluTanhArgument(x));
  const Vec slope = 1.5957691216057308f + 0.2140644488149207f * x * x;
  return p.s + x * p.s * p.oneMinus * slope;
}

// The error function in two pieces, each a minimax fit:
//     |x| <= 1    erf(x) = x + x P(x^2)
//     |x| > 1     erfc(|x|) = exp(-|x| Q(|x|)), fitted up to 6, where erfc is 2e-17, and 0 from there on.
static inline Vec erfNearZero(Vec x) {
  const Vec s = x * x;
  Vec p = splat(7.8538967e-05f);
  p = p * s - 8.01020521e-04f;
  p = p * s + 5.18832915e-03f;
  p = p * s - 2.68538128e-02f;
  p = p * s + 1.12835852e-01f;
  p = p * s - 3.76126258e-01f;
  p = p * s + 1.28379166e-01f;
  return x + x * p;
}

/// erfc of t >= 1; within 3e-6 relative below 4. Not held at its last value: GELU multiplies it by any x.
static inline Vec erfcAboveOne(Vec t) {
  Vec q = splat(-1.14538688e-06f);
  q = q * t + 3.602546e-05f;
  q = q * t - 5.10134516e-04f;
  q = q * t + 4.34639054e-03f;
  q = q * t - 2.52343537e-02f;
  q = q * t + 1.07980515e-01f;
  q = q * t + 6.34058164e-01f;
  q = q * t + 1.12893008e+00f;
  return t > 6.0f ? Vec{} : exp(-t * q);
}

/// The error function, within 9e-8 absolute and relative; NaN stays NaN.
static inline Vec erf(Vec x) {
  const Vec t = x < 0.0f ? -x : x;
  const Vec tail = 1.0f - erfcAboveOne(t);
  return t > 1.0f ? (x < 0.0f ? -tail : tail) : erfNearZero(x);
}

/// The normal distribution function (1 + erf(x / sqrt 2)) / 2. Its left tail comes from erfc, so it keeps its relative
/// accuracy there, where 1 + erf cancels.
static inline Vec normalCdf(Vec x) {
  const Vec u = x * 0.70710678118654752f;
  const Vec t = u < 0.0f ? -u : u;
  const Vec tail = 0.5f * erfcAboveOne(t);
  return t > 1.0f ? (u < 0.0f ? tail : 1.0f - tail) : 0.5f + 0.5f * erfNearZero(u);
}

/// torch's GELU(approximate="none"): x normalCdf(x), within 2e-7 absolute or 1 ulp, whichever is more.
static inline Vec geluErf(Vec x) { return x * normalCdf(x); }

/// d geluErf / dx = normalCdf(x) + x normalPdf(x), within 1.5e-7 absolute.
static inline Vec geluErfDerivative(Vec x) {
  return normalCdf(x) + x * 0.39894228040143268f * exp(-0.5f * x * x);
}

}  // namespace repa::cpu::REPA_LEVEL
