// Tokens as the cells of a grid: what a 3 x 3 convolution reads of them, and their spatial normalisation.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// x [B, rows columns, D] -> [B, rows columns, 9 D]: of each token the 3 x 3 cells around it, zeros outside of the grid, elements
/// (channel, ky, kx). Times a convolution's weight [out, D, 3, 3] as a matrix, that is the convolution with a padding of 1. x may have
/// the dtype of computation.
Tensor unfoldTokens(const Tensor& x, int64_t rows, int64_t columns);
Tensor unfoldTokensBackward(const Tensor& dOut, int64_t rows, int64_t columns);

/// x [B, T, D] -> (x - share mean) / (std + epsilon), by sample and channel over the tokens, of which there are two at least; the
/// standard deviation is the unbiased one, torch's.
Tensor standardizeTokens(const Tensor& x, double share, double epsilon);

}  // namespace repa::ops
