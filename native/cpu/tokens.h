// The token sequence of a vision transformer: what stands before the patch tokens, and leaving it out again.
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

struct TokensKernels {
  void (*prependTokens)(ThreadPool&, const PrependTokensArgs&);
  void (*dropTokens)(ThreadPool&, const DropTokensArgs&);
};

REPA_CPU_KERNELS(TokensKernels, tokensKernels);

}  // namespace repa::cpu
