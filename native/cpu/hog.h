// The built-in encoder: a histogram of oriented gradients (Dalal and Triggs, "Histograms of oriented gradients for
// human detection", CVPR 2005) with local colour, one descriptor per token, so that alignment runs with nothing to
// download.
//
// The image, with values in [0, 1], is cut into a gridHeight x gridWidth grid of cells, one per token.
// 1. Gradient of every pixel by differences of its neighbours (borders replicated), (right - left, below - above), from
//    the colour channel where it is longest: magnitude m and signed orientation in [0, 2 pi). The pixel's vote is m,
//    shared linearly between the two nearest of 12 orientation bins; bin k is centred at 30 k degrees.
// 2. Averages over every cell, with weights that fall linearly from 1 at the cell's centre to 0 at the next cell's
//    (every pixel counts for the four cells around it): of the votes, the histogram h[12]; of R, G, B, the mean colour
//    mu[3] and the contrast s[3] = sqrt(variance + 0.01^2).
// 3. The 128 numbers of a token, from its own cell 0 and the 3 x 3 cells around it (cells beyond the border are copies
//    of the border's), in two parts.
//    Edges: the histograms of the 3 x 3 cells, row by row, as one vector v of 108, normalised in the paper's way
//    ("L2-Hys"): v / sqrt(|v|^2 + 0.02^2), clipped at 0.2, brought back to its length. Short where the picture is flat,
//    else of length 1.
//    Colours: [ 2 mu0 - 1 (3) | 0.1 (1) | 2 s0 (3) | 2 (mu - mu0) of the cells above, left, right, below (12) |
//    2 sum(h0) (1) ] divided by its length. The constant keeps a flat mid-grey token from being zero.
// The cosine of two tokens is then the average of how alike their edges and their colours are.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

constexpr int kHogWidth = 128;

struct HogArgs {
  const uint8_t* images;  ///< [batch, 3, height, width], RGB
  float* descriptors;     ///< [batch, gridHeight * gridWidth, kHogWidth]
  int64_t batch, height, width;
  int64_t gridHeight, gridWidth;  ///< at most height, width; need not divide them
  float* scratch;
};

struct HogKernels {
  void (*hog)(ThreadPool& pool, const HogArgs& args);
  int64_t (*hogScratchFloats)(const HogArgs& args, int threads);
};

REPA_CPU_KERNELS(HogKernels, hogKernels);

}  // namespace repa::cpu
