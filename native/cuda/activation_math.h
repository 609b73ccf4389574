// Activation functions of one number and their slopes, as cpu/vector_math.h has them for vectors. T is the dtype in which the model
// computes: for float they are as exact as float32 allows; for a 16-bit type e^x and the reciprocal are one instruction each, whose
// error of some 2^-22 no rounding to that type can see.
#pragma once

#include <type_traits>

#include "cuda/kernel.h"

namespace repa::cuda {

template <class T>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (std::is_same_v<T, float>) return expf(x);
  else return exp2Approx(1.4426950408889634f * x);
}

template <class T>
__device__ __forceinline__ float reciprocal(float x) {
  if constexpr (std::is_same_v<T, float>) return 1.0f / x;
  else return reciprocalApprox(x);
}

template <class T>
__device__ __forceinline__ float sigmoid(float x) {
  return reciprocal<T>(1.0f + exponential<T>(-x));
}

/// sigmoid(x) and 1 - sigmoid(x) = e^-x sigmoid(x), which keeps its digits where sigmoid(x) is nearly 1. Where e^-x is beyond
/// float32 both are 0: the second only ever meets the first as a factor, and infinity times 0 would be NaN.
struct SigmoidPair {
  float s, oneMinus;
};
template <class T>
__device__ __forceinline__ SigmoidPair sigmoidPair(float x) {
  const float e = exponential<T>(-x);
  const float s = reciprocal<T>(1.0f + e);
  return {s, fminf(e, 3.0e38f) * s};
}

template <class T>
__device__ __forceinline__ float silu(float x) {
  return x * sigmoid<T>(x);
}

template <class T>
__device__ __forceinline__ float siluSlope(float x) {
  const SigmoidPair p = sigmoidPair<T>(x);
  return p.s * (1.0f + x * p.oneMinus);
}

/// CLIP's QuickGELU.
template <class T>
__device__ __forceinline__ float quickGelu(float x) {
  return x * sigmoid<T>(1.702f * x);
}

template <class T>
__device__ __forceinline__ float quickGeluSlope(float x) {
  const SigmoidPair p = sigmoidPair<T>(1.702f * x);
  return p.s * (1.0f + 1.702f * x * p.oneMinus);
}

/// 2 u of GELU's tanh form 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float geluTanhArgument(float x) { return x * (1.5957691216057308f + 0.07135481627164025f * x * x); }

template <class T>
__device__ __forceinline__ float geluTanh(float x) {
  return x * sigmoid<T>(geluTanhArgument(x));
}

template <class T>
__device__ __forceinline__ float geluTanhSlope(float x) {
  const SigmoidPair p = sigmoidPair<T>(geluTanhArgument(x));
  return p.s + x * p.s * p.oneMinus * (1.5957691216057308f + 0.2140644488149207f * x * x);
}

/// The normal distribution function. From its tail erfc(|x| / sqrt 2) / 2, so that the left one keeps its digits, where 1 + erf cancels.
template <class T>
__device__ __forceinline__ float normalCdf(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return 0.5f * erfcf(-0.70710678118654752f * x);
  } else {
    // t 2^(p(t) - x^2 log2(e) / 2) with t = 1 / (1 + 0.4 |x| / sqrt 2), the form of Numerical Recipes' erfcc; p is the least-squares fit of
    // degree 6 at 4,000 Chebyshev nodes of |x| < 14. Within 2^-18 of the function where |x| < 6, and 2^-16 where |x| < 12.
    const float t = reciprocalApprox(1.0f + 0.282842712f * fabsf(x));
    float p = 0.34558263f;
    p = fmaf(p, t, -1.0853672f);
    p = fmaf(p, t, 0.87660772f);
    p = fmaf(p, t, -0.11391236f);
    p = fmaf(p, t, 0.69198871f);
    p = fmaf(p, t, 1.4322809f);
    p = fmaf(p, t, -3.1471763f);
    const float tail = t * exp2Approx(fmaf(-0.72134752f * x, x, p));
    return x < 0.0f ? tail : 1.0f - tail;
  }
}

template <class T>
__device__ __forceinline__ float geluErf(float x) {
  return x * normalCdf<T>(x);
}

template <class T>
__device__ __forceinline__ float geluErfSlope(float x) {
  return normalCdf<T>(x) + x * 0.39894228040143268f * exponential<T>(-0.5f * x * x);
}

}  // namespace repa::cuda
