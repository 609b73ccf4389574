// What an autoencoder's encoder says of images, as latents: the moments of its posterior, and standardised values.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// The range to which the logarithm of the variance is clamped, as in diffusers' DiagonalGaussianDistribution.
inline constexpr float kLeastLogVariance = -30, kMostLogVariance = 20;

struct PosteriorMomentsArgs {
  const float* parameters;  ///< [batch, 2, size]: the means of a sample's channels, then the logarithms of their variances
  float* moments;           ///< [batch, 2, size]: the means, then the standard deviations
  int64_t batch, size;      ///< size: channels * height * width of the latent
};

/// out = (x - mean) / std.
struct StandardizeArgs {
  const float* x;     ///< [batch, groups, size]
  const float* mean;  ///< [groups]
  const float* std;   ///< [groups]
  float* out;         ///< [batch, groups, size]
  int64_t batch, groups, size;
};

struct LatentsKernels {
  void (*posteriorMoments)(ThreadPool& pool, const PosteriorMomentsArgs& args);
  void (*standardize)(ThreadPool& pool, const StandardizeArgs& args);
};

REPA_CPU_KERNELS(LatentsKernels, latentsKernels);

}  // namespace repa::cpu
