// Where a branch's output joins the residual stream and the next branch begins: the two halves of an adaLN-zero block (DiT, arXiv
// 2212.09748) meet there, so that one pass over the stream does for both.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// stream = x + gate ⊙ y, and modulate(norm(stream), shift, scale), the norm being "layerNorm" or "rmsNorm" (norm.h). x (f32) and y
/// [B, T, D]; gate, shift and scale are the chunks of modulation [B, chunks, D] of those numbers. Returns {stream (f32), out (of y's dtype), mean [B, T], rstd [B, T]}.
std::array<Tensor, 4> gatedResidualNormModulate(const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                                                int64_t shiftChunk, int64_t scaleChunk, const std::string& norm, double epsilon);

/// From the gradients of both results (that of the stream, dStream [B, T, D] in f32, may be absent), with `stream`, mean and rstd as they
/// came out: {dX in f32, dY of y's dtype}. Overwrites the three chunks of dModulation. With dBias [D], also writes (or adds) the sum of dY
/// over all rows: the gradient of the bias that y's Linear added.
std::array<Tensor, 2> gatedResidualNormModulateBackward(const Tensor& dOut, const std::optional<Tensor>& dStream,
                                                        const Tensor& stream, const Tensor& mean, const Tensor& rstd, const Tensor& y,
                                                        const Tensor& modulation, int64_t gateChunk, int64_t shiftChunk, int64_t scaleChunk,
                                                        const std::string& norm, const Tensor& dModulation,
                                                        const std::optional<Tensor>& dBias, bool accumulateBias);

}  // namespace repa::ops
