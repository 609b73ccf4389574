// Training times whose odds are lognormal (REPA --weighting lognormal), with the same bits on every machine: for a normal number n
// and s = e^n, t = s / (1 + s) on the linear path and (2 / pi) atan(s) on the cosine path.
//
// As in box_muller.h, nothing here depends on a math library or on what a compiler fuses: a product is rounded before the sum
// that follows, and quotients and square roots are rounded by IEEE 754 in one way only.
#pragma once

#include <cmath>

#include "core/host_device.h"

namespace repa {

/// a b, rounded, whatever the compiler would like to fuse it with: on a CPU it passes through memory.
REPA_HOST_DEVICE static inline double roundedProduct(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  volatile double product = a * b;
  return product;
#endif
}

/// e^n for |n| < 7: n = k ln 2 + r, and the Taylor series of e^r to r^13 / 13! (below 2e-16 for |r| <= ln 2 / 2).
REPA_HOST_DEVICE static inline double exponential(double n) {
  const int k = static_cast<int>(roundedProduct(n, 1.4426950408889634) + (n < 0 ? -0.5 : 0.5));
  const double r = (n - roundedProduct(k, 0.69314718055989033)) - roundedProduct(k, 5.4979230187083712e-14);
  double sum = 1.0;
  for (int i = 13; i > 0; --i) sum = 1.0 + roundedProduct(sum, r) / i;
  return k < 0 ? sum / static_cast<double>(1 << -k) : sum * static_cast<double>(1 << k);
}

/// atan(s) for s >= 0: of 1 / s when s > 1, with the angle halved twice by tan(a / 2) = tan a / (1 + sqrt(1 + tan^2 a)),
/// so that the series of what is left, at most tan(pi / 16), needs terms up to the 19th power.
REPA_HOST_DEVICE static inline double arctangent(double s) {
  double x = s > 1 ? 1 / s : s;
  for (int halving = 0; halving < 2; ++halving) x = x / (1 + sqrt(1 + roundedProduct(x, x)));
  const double square = roundedProduct(x, x);
  double sum = 0;
  for (int power = 19; power > 0; power -= 2) sum = 1.0 / power - roundedProduct(sum, square);
  const double angle = 4 * roundedProduct(sum, x);
  return s > 1 ? 1.5707963267948966 - angle : angle;
}

/// t of a normal number.
REPA_HOST_DEVICE static inline float lognormalTime(float normal, bool cosinePath) {
  const double s = exponential(normal);
  return static_cast<float>(cosinePath ? roundedProduct(arctangent(s), 0.63661977236758134) : s / (1 + s));
}

}  // namespace repa
