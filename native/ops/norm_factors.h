// The weights of a step's RMSNorms, multiplied into its modulation (adaLN).
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// Of a modulation [B, 3 N - 1, D] or [B, 3 N, D], in which N norms are each followed by a shift, a scale and a gate, which the last may lack:
/// chunk 3 n + 1 of the result is weights[n] ⊙ (1 + scale), the whole factor of norm n; shifts and gates are as they were. weights [N, D].
Tensor normFactors(const Tensor& modulation, const Tensor& weights);

/// In place: dModulation, the gradient of the result, becomes that of the modulation. Writes, or with `accumulate` adds, the
/// weights' to dWeights [N, D].
void normFactorsBackward(const Tensor& dModulation, const Tensor& modulation, const Tensor& weights, const Tensor& dWeights, bool accumulate);

}  // namespace repa::ops
