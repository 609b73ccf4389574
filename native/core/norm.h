// Which norm a modulation follows.
#pragma once

namespace repa {

/// LayerNorm without parameters: out = (x - mean) rstd (1 + scale) + shift, the scale being the modulation's chunk. RMSNorm: out = x rstd
/// factor + shift, rstd = 1 / sqrt(mean(x²) + epsilon); its chunk has the whole factor, the norm's weight and all (ops/norm_factors.h).
enum class Norm { layerNorm, rmsNorm };

/// Whether the mean is taken off first.
inline bool isCentred(Norm norm) { return norm == Norm::layerNorm; }

/// What is added to the modulation's chunk for the whole factor.
inline float factorBase(Norm norm) { return norm == Norm::layerNorm ? 1.0f : 0.0f; }

}  // namespace repa
