// Tokens as the cells of a grid: what a 3 x 3 convolution reads of them, and their spatial normalisation.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[b, t, d, k] = x[b, the k-th neighbour of t, d], 0 outside of the grid: the 3 x 3 cells around token t = (row, column), row-major,
/// k = 4 being t itself. As torch's unfold lays out a convolution's operand, elements (channel, ky, kx).
struct UnfoldTokensArgs {
  int64_t batch, rows, columns, width;
  const float* x;  ///< [batch, rows columns, width]
  float* out;      ///< [batch, rows columns, 9 width]
};

/// dX[b, t, d] = the sum of dOut[b, s, d, k] over all s whose k-th neighbour is t.
struct UnfoldTokensBackwardArgs {
  int64_t batch, rows, columns, width;
  const float* dOut;  ///< [batch, rows columns, 9 width]
  float* dX;          ///< [batch, rows columns, width]
};

/// out = (x - share mean) / (std + epsilon), mean and (unbiased) standard deviation over a sample's tokens, for each of its channels.
struct StandardizeTokensArgs {
  int64_t batch, tokens, width;
  float share, epsilon;
  const float* x;  ///< [batch, tokens, width]
  float* out;      ///< [batch, tokens, width]
};

struct TokenGridKernels {
  void (*unfoldTokens)(ThreadPool&, const UnfoldTokensArgs&);
  void (*unfoldTokensBackward)(ThreadPool&, const UnfoldTokensBackwardArgs&);
  void (*standardizeTokens)(ThreadPool&, const StandardizeTokensArgs&);
};

REPA_CPU_KERNELS(TokenGridKernels, tokenGridKernels);

}  // namespace repa::cpu
