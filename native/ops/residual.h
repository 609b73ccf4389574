// A branch's output added to the residual stream. (As a Linear's epilogue, without a pass of its own: ops/linear.h.)
#pragma once

#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// x + gate ⊙ y in f32 (adaLN-zero), gate being chunk number gateChunk of modulation [B, chunks, D]; x (f32) and y [B, T, D].
Tensor gatedResidual(const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk);

/// dY = gate ⊙ dOut, of y's dtype; the gradient of x is dOut itself. Overwrites the gate's chunk of dModulation. With dBias [D], also
/// writes (or adds) the sum of dY over all rows: the gradient of the bias that y's Linear added.
Tensor gatedResidualBackward(const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& dModulation,
                             const std::optional<Tensor>& dBias, bool accumulateBias);

/// x + gamma ⊙ y, gamma [D] (LayerScale, arXiv 2103.17239); x and y [..., D].
Tensor layerScale(const Tensor& x, const Tensor& y, const Tensor& gamma);

/// dY = gamma ⊙ dOut; the gradient of x is dOut itself. Writes or adds dGamma [D].
Tensor layerScaleBackward(const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma, bool accumulate);

}  // namespace repa::ops
