// Stochastic interpolants (SiT, arXiv 2401.08740) between data (t = 0) and noise (t = 1), and the draw from an
// autoencoder's posterior.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// x_t = alpha(t) x + sigma(t) noise.
enum class InterpolantPath {
  linear,  ///< alpha = 1 - t,         sigma = t
  cosine,  ///< alpha = cos(pi t / 2), sigma = sin(pi t / 2)
};

struct InterpolantArgs {
  const float* x;       ///< [batch, size], data
  const float* noise;   ///< [batch, size]
  const float* t;       ///< [batch]
  float* interpolated;  ///< [batch, size]: alpha x + sigma noise; may be x or noise itself
  float* velocity;      ///< [batch, size]: alpha' x + sigma' noise, what the model regresses; may be x or noise itself
  InterpolantPath path;
  int64_t batch, size;
};

/// z = (mean + std * noise) * scale + bias: a latent from the stored moments of an autoencoder's posterior.
struct SamplePosteriorArgs {
  const float* moments;  ///< [batch, 2, size]: the means of a sample's channels, then their standard deviations
  const float* noise;    ///< [batch, size]
  float* latent;         ///< [batch, size]; may be noise itself
  float scale;           ///< 0.18215 for SD-VAE
  float bias;            ///< 0 for SD-VAE
  int64_t batch, size;   ///< size: channels * height * width of the latent
};

struct InterpolantKernels {
  void (*interpolant)(ThreadPool& pool, const InterpolantArgs& args);
  void (*samplePosterior)(ThreadPool& pool, const SamplePosteriorArgs& args);
};

REPA_CPU_KERNELS(InterpolantKernels, interpolantKernels);

}  // namespace repa::cpu
