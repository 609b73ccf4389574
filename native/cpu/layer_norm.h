// LayerNorm over the last axis, plain or modulated by a sample's condition (adaLN: arXiv 2212.09748, section 3.2), and RMSNorm modulated.
//
//   mean = (1/D) sum x        rstd = 1 / sqrt((1/D) sum (x - mean)^2 + epsilon)        xhat = (x - mean) rstd
//
// "Modulated" is REPA's and DiT's modulate(LayerNorm(x), shift, scale), the LayerNorm having no parameters of its own;
// "affine" is torch.nn.LayerNorm. An RMSNorm takes no mean off: it is 0, and rstd that of the squares as they are.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = xhat (base + scale) + shift: base is 1, and of an RMSNorm, whose scale is the whole factor, 0. x and out are
/// [batch, tokens, width] and may be the same memory.
struct LayerNormModulateArgs {
  int64_t batch, tokens, width;
  float epsilon;
  /// LayerNorm's; RMSNorm takes no mean off.
  bool centred;
  float base;
  const float* x;
  /// [width] for each sample: sample b's at shift + b * modulationStride, as in a chunk of [batch, chunks, width].
  const float* shift;
  const float* scale;
  int64_t modulationStride;
  float* out;
  /// [batch, tokens] each, for the backward pass.
  float* mean;
  float* rstd;
};

/// With g = dOut (base + scale):
///   dX = rstd (g - mean_D(g) - xhat mean_D(g xhat)) + dResidual          (not centred: without mean_D(g))
///   dShift = sum_T dOut     dScale = sum_T dOut xhat
/// Overwrites its outputs. dX may be the memory of dOut or of dResidual.
struct LayerNormModulateBackwardArgs {
  int64_t batch, tokens, width;
  bool centred;
  float base;
  const float* x;
  const float* mean;
  const float* rstd;
  const float* scale;
  int64_t modulationStride;
  const float* dOut;
  /// The gradient that reaches x past this branch, [batch, tokens, width]; null: none.
  const float* dResidual;
  float* dX;
  /// [width] for each sample, sample b's at dShift + b * dModulationStride.
  float* dShift;
  float* dScale;
  int64_t dModulationStride;
  /// modulateBackwardScratchFloats of them.
  float* scratch;
};

/// out = xhat weight + bias. x and out are [rows, width] and may be the same memory; weight and bias [width].
struct LayerNormArgs {
  int64_t rows, width;
  float epsilon;
  const float* x;
  const float* weight;
  const float* bias;
  float* out;
  /// [rows] each, for the backward pass.
  float* mean;
  float* rstd;
};

/// With g = dOut weight:
///   dX = rstd (g - mean_D(g) - xhat mean_D(g xhat)) + dResidual
///   dBias = sum_rows dOut     dWeight = sum_rows dOut xhat
/// dX overwrites, and may be the memory of dOut or of dResidual.
struct LayerNormBackwardArgs {
  int64_t rows, width;
  const float* x;
  const float* mean;
  const float* rstd;
  const float* weight;
  const float* dOut;
  /// [rows, width]; null: none.
  const float* dResidual;
  float* dX;
  float* dWeight;
  float* dBias;
  /// Add to dWeight and dBias instead of overwriting them.
  bool accumulate;
  /// affineBackwardScratchFloats of them.
  float* scratch;
};

struct LayerNormKernels {
  void (*modulate)(ThreadPool&, const LayerNormModulateArgs&);
  void (*modulateBackward)(ThreadPool&, const LayerNormModulateBackwardArgs&);
  int64_t (*modulateBackwardScratchFloats)(const LayerNormModulateBackwardArgs&, int threads);
  void (*affine)(ThreadPool&, const LayerNormArgs&);
  void (*affineBackward)(ThreadPool&, const LayerNormBackwardArgs&);
  int64_t (*affineBackwardScratchFloats)(const LayerNormBackwardArgs&, int threads);
};

REPA_CPU_KERNELS(LayerNormKernels, layerNormKernels);

}  // namespace repa::cpu
