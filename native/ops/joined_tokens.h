// Two token sequences as one, and apart again: the text's tokens and the image's, which a joint attention reads side by side.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// first [B, M, D] and rest [B, N, D] of one dtype of computation -> [first | rest] [B, M + N, D]. One of the two may be left out: in its
/// place stand `zeros` tokens of zeros, the gradient of what nothing has read. With both, `zeros` is 0.
Tensor joinTokens(const std::optional<Tensor>& first, const std::optional<Tensor>& rest, int64_t zeros);

/// x [B, N, D] -> {x[:, :first], x[:, first:]}, of x's dtype.
std::array<Tensor, 2> splitTokens(const Tensor& x, int64_t first);

}  // namespace repa::ops
