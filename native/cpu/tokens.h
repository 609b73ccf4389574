// The token sequence of a vision transformer: what stands before the patch tokens, leaving it out again, and other orders of it.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[b] = [class token + its position | register tokens | patch tokens + their positions], as DINOv2's
/// prepare_tokens_with_masks: registers have no position. out is [batch, n + registers + patches, width] with n = 1, or
/// n = 0 when there is no class token.
struct PrependTokensArgs {
  int64_t batch, patches, registers, width;
  /// [batch, patches, width].
  const float* patchTokens;
  /// [patches, width]; null: nothing is added.
  const float* patchPositions;
  /// [width]; null: no class token.
  const float* classToken;
  /// [width]; null: nothing is added.
  const float* classPosition;
  /// [registers, width]; not read when there are none.
  const float* registerTokens;
  float* out;
};

/// out[b] = x[b, first:]. x is [batch, tokens, width], out [batch, tokens - first, width].
struct DropTokensArgs {
  int64_t batch, tokens, first, width;
  const float* x;
  float* out;
};

/// out[b, m] = x[b, ids[b, m]], or `fill` where the id is -1; NaN where a sample has no token of that id.
/// x is [batch, tokens, width], ids [batch, taken], out [batch, taken, width].
struct GatherTokensArgs {
  int64_t batch, tokens, taken, width;
  const float* x;
  const int32_t* ids;
  /// [width]; null: -1 is no token either.
  const float* fill;
  float* out;
};

/// dX[b, n] = sum over the m with ids[b, m] = n of dOut[b, m], in the order of m, and dFill[b] the same for -1: the fill's gradient is
/// the sum over b. Shapes are those of the forward.
struct GatherTokensBackwardArgs {
  int64_t batch, tokens, taken, width;
  const float* dOut;
  const int32_t* ids;
  float* dX;
  /// [batch, width]; null: no fill.
  float* dFill;
};

/// out[b, n] = x[b, places[b, n]], or base[b, n] where that is -1; NaN where x has no such token. out is [batch, tokens, width].
struct MergeTokensArgs {
  int64_t batch, tokens, merged, width;
  /// [batch, tokens, width]; null: zeros.
  const float* base;
  /// [batch, merged, width]; null: zeros, at any place.
  const float* x;
  /// [batch, tokens].
  const int32_t* places;
  float* out;
};

struct TokensKernels {
  void (*prependTokens)(ThreadPool&, const PrependTokensArgs&);
  void (*dropTokens)(ThreadPool&, const DropTokensArgs&);
  void (*gatherTokens)(ThreadPool&, const GatherTokensArgs&);
  void (*gatherTokensBackward)(ThreadPool&, const GatherTokensBackwardArgs&);
  void (*mergeTokens)(ThreadPool&, const MergeTokensArgs&);
};

REPA_CPU_KERNELS(TokensKernels, tokensKernels);

}  // namespace repa::cpu
