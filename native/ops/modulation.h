// The modulation tensor [B, chunks, D]: the output of all adaLN projections of a step, one GEMM. Ops address its chunks by
// number (a block's shift, scale and gate), so that nothing is ever split or copied.
#pragma once

#include <string>

#include "ops/require.h"

namespace repa::ops {

/// `modulation` must be [B, chunks, D] for an x of [B, T, D].
inline void requireModulation(const char* op, const char* name, const Tensor& modulation, const Tensor& x) {
  requireRank(op, name, modulation, 3, "[B, chunks, D]");
  if (modulation.size(0) != x.size(0) || modulation.size(2) != x.size(2))
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + modulation.shape().text() + ", which does not fit x " + x.shape().text() + ": expected [B, chunks, D].");
}

/// Where chunk number `chunk` of the first sample begins.
inline float* modulationChunk(const char* op, const Tensor& modulation, int64_t chunk) {
  require(chunk >= 0 && chunk < modulation.size(1), op,
          "chunk " + std::to_string(chunk) + " is outside a modulation of " + std::to_string(modulation.size(1)) + " chunks.");
  return modulation.f32() + chunk * modulation.size(2);
}

/// Floats from one sample's chunk to the next sample's.
inline int64_t modulationStride(const Tensor& modulation) { return modulation.size(1) * modulation.size(2); }

}  // namespace repa::ops
