// The chunks of a modulation tensor [B, chunks, D], as ops/modulation.h has them; checked there.
#pragma once

#include "core/tensor.h"

namespace repa::cuda {

/// Chunk number `chunk` of the first sample.
inline float* chunkOf(const Tensor& modulation, int64_t chunk) { return modulation.f32() + chunk * modulation.size(2); }

/// Floats from one sample's chunk to the next sample's.
inline int64_t strideOf(const Tensor& modulation) { return modulation.size(1) * modulation.size(2); }

}  // namespace repa::cuda
