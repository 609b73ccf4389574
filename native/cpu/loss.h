// The two training losses of REPA (arXiv 2410.06940) with their gradients, each in one pass over its operands.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// Alignment of projected hidden states with an encoder's features (REPA, equation 8, with the cosine similarity).
struct CosineAlignmentArgs {
  const float* projection;  ///< z [batch, tokens, width]
  const float* target;      ///< y [batch, tokens, width]
  float* loss;              ///< [batch]: -mean over tokens of cos(z, y), in [-1, 1]
  float* gradProjection;    ///< [batch, tokens, width], overwritten with tokenWeight * d(-cos(z, y)) / dz; null: loss only
  float tokenWeight;        ///< of one token's -cos in the caller's total: coefficient / (encoders * batch * tokens)
  const StepState* state;   ///< its loss scale multiplies the gradient; may be null
  int64_t batch, tokens, width;
  float* scratch;
};

/// Regression of the velocity, the mean squared error over everything but the batch.
struct VelocityLossArgs {
  const float* prediction;  ///< [batch, size]
  const float* target;      ///< [batch, size]
  float* loss;              ///< [batch]: mean of (prediction - target)^2
  float* gradPrediction;    ///< [batch, size], overwritten: batchWeight * 2 (prediction - target) / (size * batch); or null
  float batchWeight;        ///< of the mean of `loss` over the batch in the caller's total
  const StepState* state;   ///< its loss scale multiplies the gradient; may be null
  int64_t batch, size;
};

struct LossKernels {
  void (*cosineAlignment)(ThreadPool& pool, const CosineAlignmentArgs& args);
  int64_t (*cosineAlignmentScratchFloats)(const CosineAlignmentArgs& args, int threads);
  void (*velocityLoss)(ThreadPool& pool, const VelocityLossArgs& args);
};

REPA_CPU_KERNELS(LossKernels, lossKernels);

}  // namespace repa::cpu
