// The modulation tensor [B, chunks, D]: the output of all adaLN projections of a step, one GEMM. Ops address its chunks by
// number (a block's shift, scale and gate), so that nothing is ever split or copied.
#pragma once

#include <cstdint>
#include <initializer_list>
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

/// Of gradients that are written: into one chunk there is room for one.
inline void requireDistinctChunks(const char* op, std::initializer_list<int64_t> chunks) {
  for (const int64_t* one = chunks.begin(); one != chunks.end(); ++one)
    for (const int64_t* other = chunks.begin(); other != one; ++other)
      require(*one != *other, op, "the gradients of two parts of the modulation would both be written to its chunk " + std::to_string(*one) + "; name different ones.");
}

/// Floats from one sample's chunk to the next sample's.
inline int64_t modulationStride(const Tensor& modulation) { return modulation.size(1) * modulation.size(2); }

}  // namespace repa::ops
