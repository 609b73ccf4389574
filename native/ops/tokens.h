// The token sequence of a vision transformer: what stands before the patch tokens, and leaving it out again, and
// other orders of it.
#pragma once

#include <array>
#include <optional>

#include "core/tensor.h"

namespace repa::ops {

/// patches [B, T, D] -> [class + its position | registers | patches + positions]: [B, n + R + T, D], n = 1 with a class token.
/// patchPositions [T, D], classToken [D], classPosition [D], registers [R, D]; as DINOv2's prepare_tokens_with_masks.
Tensor prependTokens(const Tensor& patches, const std::optional<Tensor>& patchPositions, const std::optional<Tensor>& classToken,
                     const std::optional<Tensor>& classPosition, const std::optional<Tensor>& registers);

/// x[:, first:] of x [B, N, D].
Tensor dropTokens(const Tensor& x, int64_t first);

/// x [B, N, D] at ids i32 [B, M], each of its own sample -> [B, M, D]: `fill` [D] where an id is -1, NaN where there is no such token.
Tensor gatherTokens(const Tensor& x, const Tensor& ids, const std::optional<Tensor>& fill);

/// dOut [B, M, D] of x with so many tokens -> dX [B, N, D] and, where there was a fill, its gradient by sample [B, D].
std::array<Tensor, 2> gatherTokensBackward(const Tensor& dOut, const Tensor& ids, int64_t tokens, bool filled);

/// base [B, N, D] with tokens of x [B, M, D] in it: at places i32 [B, N] -> [B, N, D], x's token of that number, or base's own where it is
/// -1; NaN where x has no such token. Zeros where base or x is left out, one of the two at most.
Tensor mergeTokens(const std::optional<Tensor>& base, const std::optional<Tensor>& x, const Tensor& places);

}  // namespace repa::ops
