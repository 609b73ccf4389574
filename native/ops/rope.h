// Rotary positions (RoPE) of queries and keys, as EVA-02 and LightningDiT have them.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// In place: every query and key of qkv [B, T, 3·H·d] of token t becomes x ⊙ cos[t] + rotateHalf(x) ⊙ sin[t], cos and sin [T, d]; values are
/// as they were. rotateHalf(x)[2i] = -x[2i + 1], rotateHalf(x)[2i + 1] = x[2i]. With `transposed` that map's transpose instead: of a gradient
/// of the result it makes that of the input.
void rotate(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, bool transposed);

}  // namespace repa::ops
