// What diffusion does to samples beside calling the model: noising, a step back, guidance.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out_b = coefficients[row_b, 0] x_b + coefficients[row_b, 1] y_b: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε by a schedule's table.
struct CombineSamplesArgs {
  const float* x;              ///< [batch, size]
  const float* y;              ///< [batch, size]; null: the first term only
  const int32_t* rows;         ///< [batch]; one outside [0, tableRows) gives NaN
  const double* coefficients;  ///< [tableRows, 2]
  float* out;                  ///< [batch, size]
  int64_t batch, size, tableRows;
};

/// How a step of the diffusion goes back, from what the model predicts:
///     x_0  = x0FromX · x + x0FromPrediction · prediction, clipped to [-1, 1] where asked
///     out  = meanFromX0 · x_0 + meanFromX · x + exp(½ logVariance) · noise
/// with logVariance = f maxLogVariance + (1 - f) minLogVariance, f = (v + 1) / 2. DDPM's and DDIM's steps are both of this form.
struct DenoisingStepCoefficients {
  double x0FromX, x0FromPrediction, meanFromX0, meanFromX, minLogVariance, maxLogVariance;
};

/// In double, as the samplers' states are.
struct DenoisingStepArgs {
  const double* x;          ///< [batch, size]
  const float* prediction;  ///< [batch, size], or with v behind it [batch, 2, size]
  const float* noise;       ///< [batch, size]; null: no noise
  double* out;              ///< [batch, size]; may be x itself
  DenoisingStepCoefficients coefficients;
  bool clip;
  bool hasV;
  int64_t batch, size;
};

/// Classifier-free guidance of the first `guided` of a sample's numbers, for [batch] conditional predictions c and as many
/// unconditional ones u behind them: both become u + scale (c - u). The others stay as they are.
struct GuideArgs {
  const float* prediction;  ///< [2, batch, size]
  float* out;               ///< [2, batch, size]
  float scale;
  int64_t batch, size, guided;
};

/// The first channels of every sample, zeros behind those that are there: taking channels away, and its gradient.
struct ResizeChannelsArgs {
  const float* x;  ///< [batch, fromSize]
  float* out;      ///< [batch, toSize]
  int64_t batch, fromSize, toSize;
};

struct DiffusionKernels {
  void (*combineSamples)(ThreadPool& pool, const CombineSamplesArgs& args);
  void (*denoisingStep)(ThreadPool& pool, const DenoisingStepArgs& args);
  void (*guide)(ThreadPool& pool, const GuideArgs& args);
  void (*resizeChannels)(ThreadPool& pool, const ResizeChannelsArgs& args);
};

REPA_CPU_KERNELS(DiffusionKernels, diffusionKernels);

}  // namespace repa::cpu
