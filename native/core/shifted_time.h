// A training time moved towards noise (Stable Diffusion 3, arXiv 2403.03206, section 5.3.2; LightningDiT and RAE have it too), with the same
// bits on every machine.
#pragma once

#include "core/host_device.h"
#include "core/lognormal_time.h"

namespace repa {

/// shift t / (1 - t + shift t), t in [0, 1): the odds of noise times `shift`. With a shift of 1 it is t.
REPA_HOST_DEVICE static inline float shiftedTime(float t, double shift) {
  const double time = t, noise = roundedProduct(shift, time);
  return static_cast<float>(noise / ((1.0 - time) + noise));
}

}  // namespace repa
