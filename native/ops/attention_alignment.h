// The distance of a model's attention from a teacher's (HASTE).
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// Per sample the mean over heads and queries of the cross-entropy between the teacher's softmax over keys and the model's
/// (cpu/attention_alignment.h), of the first `aligned` heads of each: qkv [B, T, 3·H·d], teacher [B, T', 3·H'·d'] of the same dtype, whose
/// last T tokens are looked at. Returns {loss [B], gradient as qkv}: the gradient of `weight` times the batch's mean, times the state's loss
/// scale, where `wantGradient`; that of values and of other heads is 0.
std::array<Tensor, 2> attentionAlignmentLoss(const Tensor& qkv, int64_t heads, const Tensor& teacher, int64_t teacherHeads, int64_t aligned,
                                             double weight, const std::optional<Tensor>& state, bool wantGradient);

}  // namespace repa::ops
