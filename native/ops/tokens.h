// The token sequence of a vision transformer: what stands before the patch tokens, and leaving it out again. Inference only.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// patches [B, T, D] -> [class + its position | registers | patches + positions]: [B, n + R + T, D], n = 1 with a class token.
/// patchPositions [T, D], classToken [D], classPosition [D], registers [R, D]; as DINOv2's prepare_tokens_with_masks.
Tensor prependTokens(const Tensor& patches, const std::optional<Tensor>& patchPositions, const std::optional<Tensor>& classToken,
                     const std::optional<Tensor>& classPosition, const std::optional<Tensor>& registers);

/// x[:, first:] of x [B, N, D].
Tensor dropTokens(const Tensor& x, int64_t first);

}  // namespace repa::ops
