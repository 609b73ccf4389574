// The likelihood of a grey level under a Gaussian, as guided-diffusion and DiT have it (discretized_gaussian_log_likelihood): both
// backends' last step of the variational bound. In double: it is a difference of two nearly equal numbers, and one sample in a
// thousand takes it.
#pragma once

#include <cmath>

#include "core/host_device.h"

namespace repa {

struct DiscretizedGaussian {
  double logLikelihood;  ///< natural
  double byMean;         ///< its derivative by the mean
  double byLogVariance;  ///< its derivative by the log of the variance
};

/// Φ and its derivative.
struct NormalCdf {
  double value, slope;
};

// The functions are static so that a file compiled for one CPU level never lends its copy to another.

/// Φ by its tanh approximation.
REPA_HOST_DEVICE static inline NormalCdf approximateNormalCdf(double x) {
  const double k = 0.79788456080286535588;  // √(2/π)
  const double tanhOf = tanh(k * (x + 0.044715 * x * x * x));
  return {0.5 * (1.0 + tanhOf), 0.5 * (1.0 - tanhOf * tanhOf) * k * (1.0 + 3.0 * 0.044715 * x * x)};
}

/// Of x in [-1, 1], 255 grey levels apart 2/255; `centered` = x - mean. Beyond ±0.999 the last levels reach to infinity. A mass
/// below 1e-12 counts as that and has no derivative. Of what is not finite, a variance without bounds among it, all is NaN: a derivative of 0
/// would let a step be made of it.
REPA_HOST_DEVICE static inline DiscretizedGaussian discretizedGaussian(double x, double centered, double logVariance) {
  constexpr double kHalfLevel = 1.0 / 255.0, kEdge = 0.999, kLeast = 1e-12;
  const double inverseDeviation = exp(-0.5 * logVariance);
  if (!(inverseDeviation > 0.0 && inverseDeviation < INFINITY)) return {NAN, NAN, NAN};
  const double above = inverseDeviation * (centered + kHalfLevel), below = inverseDeviation * (centered - kHalfLevel);
  const NormalCdf upper = approximateNormalCdf(above), lower = approximateNormalCdf(below);
  double mass, byAbove = upper.slope, byBelow = -lower.slope;
  if (x < -kEdge) {
    mass = upper.value;
    byBelow = 0.0;
  } else if (x > kEdge) {
    mass = 1.0 - lower.value;
    byAbove = 0.0;
  } else {
    mass = upper.value - lower.value;
  }
  if (mass != mass) return {mass, mass, mass};
  if (mass < kLeast) return {log(kLeast), 0.0, 0.0};
  return {log(mass), -inverseDeviation * (byAbove + byBelow) / mass, -0.5 * (above * byAbove + below * byBelow) / mass};
}

}  // namespace repa
