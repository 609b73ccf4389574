// Random tensors from Philox-4x32-10: a number depends on (seed, stream, step, element) alone (core/philox.h). `first` is the
// global index of the first element (or sample), so that a batch split between processes draws what the whole one would.
#pragma once

#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// U[low, high) in place, fp32.
void fillUniform(const Tensor& out, double low, double high, uint64_t seed, int64_t stream, uint64_t step, int64_t first);
/// N(0, std²) in place, fp32.
void fillNormal(const Tensor& out, double std, uint64_t seed, int64_t stream, uint64_t step, int64_t first);
/// Training times [B] in place; weighting "uniform" or "lognormal", path "linear" or "cosine"; then each moved to shift t / (1 - t + shift t).
void fillTimesteps(const Tensor& out, const std::string& weighting, const std::string& path, double shift, uint64_t seed, int64_t stream,
                   uint64_t step, int64_t first);
/// Whole numbers from low to high - 1 in place, i32 [B].
void fillIntegers(const Tensor& out, int64_t low, int64_t high, uint64_t seed, int64_t stream, uint64_t step, int64_t first);
/// labels i32 [B] -> the same with each replaced by nullClass with the given probability.
Tensor dropLabels(const Tensor& labels, double probability, int64_t nullClass, uint64_t seed, int64_t stream, uint64_t step, int64_t first);

/// M of each sample's N tokens, every such subset as likely: ids i32 [B, M], ascending, and places i32 [B, N], where a token stands among
/// them, -1 where it does not. Both in place.
void drawTokens(const Tensor& ids, const Tensor& places, uint64_t seed, int64_t stream, uint64_t step, int64_t first);

}  // namespace repa::ops
