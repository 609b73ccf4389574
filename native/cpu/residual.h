// A branch's output added to the residual stream: gated by the condition (adaLN-zero, arXiv 2212.09748) or scaled by a
// learned vector (LayerScale, arXiv 2103.17239, as DINOv2 uses it).
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = x + gate y. x, y and out are [batch, tokens, width]; out may be the memory of x or of y.
struct GatedResidualArgs {
  int64_t batch, tokens, width;
  const float* x;
  const float* y;
  /// [width] for each sample: sample b's at gate + b * gateStride, as in a chunk of [batch, chunks, width].
  const float* gate;
  int64_t gateStride;
  float* out;
};

/// dY = gate dOut     dGate = sum_T dOut y     dBias = sum_{B,T} dY, the gradient of the bias of y's own Linear.
/// The gradient of x is dOut itself. dY and dGate overwrite; dY may be the memory of dOut or of y.
struct GatedResidualBackwardArgs {
  int64_t batch, tokens, width;
  const float* dOut;
  const float* y;
  const float* gate;
  int64_t gateStride;
  float* dY;
  /// [width] for each sample, sample b's at dGate + b * dGateStride.
  float* dGate;
  int64_t dGateStride;
  /// [width]; null: not wanted.
  float* dBias;
  /// Add to dBias instead of overwriting it.
  bool accumulateBias;
  /// gatedBackwardScratchFloats of them.
  float* scratch;
};

/// out = x + gamma y. x, y and out are [rows, width]; gamma [width]; out may be the memory of x or of y.
struct LayerScaleArgs {
  int64_t rows, width;
  const float* x;
  const float* y;
  const float* gamma;
  float* out;
};

/// dY = gamma dOut     dGamma = sum_rows dOut y     dBias = sum_rows dY.
/// The gradient of x is dOut itself. dY overwrites, and may be the memory of dOut or of y.
struct LayerScaleBackwardArgs {
  int64_t rows, width;
  const float* dOut;
  const float* y;
  const float* gamma;
  float* dY;
  float* dGamma;
  /// Add to dGamma instead of overwriting it.
  bool accumulateGamma;
  /// [width]; null: not wanted.
  float* dBias;
  /// Add to dBias instead of overwriting it.
  bool accumulateBias;
  /// layerScaleBackwardScratchFloats of them.
  float* scratch;
};

struct ResidualKernels {
  void (*gated)(ThreadPool&, const GatedResidualArgs&);
  void (*gatedBackward)(ThreadPool&, const GatedResidualBackwardArgs&);
  int64_t (*gatedBackwardScratchFloats)(const GatedResidualBackwardArgs&, int threads);
  void (*layerScale)(ThreadPool&, const LayerScaleArgs&);
  void (*layerScaleBackward)(ThreadPool&, const LayerScaleBackwardArgs&);
  int64_t (*layerScaleBackwardScratchFloats)(const LayerScaleBackwardArgs&, int threads);
};

REPA_CPU_KERNELS(ResidualKernels, residualKernels);

}  // namespace repa::cpu
