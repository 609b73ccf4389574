// The built-in encoder: a histogram of oriented gradients (Dalal and Triggs, "Histograms of oriented gradients for
// human detection", CVPR 2005) with local colour, one descriptor per token, so that alignment runs with nothing to
// download.
//
// The image, with values in [0, 1], is cut into a gridHeight x gridWidth grid of cells, one per token.
// 1. Gradient of every pixel by central differences (borders replicated), from the colour channel where it is largest:
//    magnitude m and signed orientation in [0, 2 pi).
// 2. Every pixel gives to the four cells around it, with bilinear weights w, its m to the two nearest of 12 orientation
//    bins (linear weights; bin k is centred at 30 k degrees), its R, G, B and their squares. Divided by a cell's sum of
//    w, these are the cell's histogram h[12], mean colour mu[3] and contrast s[3] (the standard deviations).
// 3. The 128 numbers of a token, from its own cell 0 and the 3 x 3 cells around it (cells beyond the border are copies
//    of the border's), are two parts. First h of the 3 x 3 cells, row by row, as one vector of 108, normalised the
//    paper's way ("L2-Hys": v / sqrt(|v|^2 + epsilon^2), clipped at 0.2, and again): nearly 0 where the picture is
//    flat. Then
//      [ 2 mu0 - 1 (3) | 0.1 (1) | 2 s0 (3) | 2 (mu - mu0) of the cells above, left, right, below (12) | sum(h0) (1) ]
//    divided by its norm; the constant keeps a flat mid-grey token from being zero.
// The cosine of two tokens is then about the average of how alike their edges and their colours are.
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
