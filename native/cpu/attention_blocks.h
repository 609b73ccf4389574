// What attention's forward and backward pass share: how the sizes are cut into blocks, and how those get into a thread's
// scratch and back.
#pragma once

#include <cmath>

#include "core/divide_up.h"
#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// A tile of scores (64 x 320 floats, 80 KB) and a block of keys and values (2 x 320 x d) share a 512 KB L2.
constexpr int64_t kQueryBlock = 64;
constexpr int64_t kMaxKeyBlock = 320;
// Few heads are cut until there are this many units of work, so that a large machine has something for every core.
constexpr int64_t kWantedUnits = 32;
// Multiply-adds that are worth a thread's while: about 20 microseconds.
constexpr int64_t kWorkPerChunk = 1 << 20;

int64_t roundUp(int64_t a, int64_t multiple) { return divideUp(a, multiple) * multiple; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/// A row stride with room for `count` floats in whole Vecs that is an odd number of Vecs: a column of such a matrix
/// falls into all the sets of a cache, where a power of two would fall into few.
int64_t oddStride(int64_t count) { return (divideUp(count, kLanes) | 1) * kLanes; }

/// 2^x for x <= 127, within 1.5 ulp; 0 below -125 and for -inf; NaN stays NaN.
/// x = n + r with |r| <= 1/2; 2^r by its minimax polynomial of degree 6 (relative error 2e-9), 2^n by exponent bits.
inline Vec exp2(Vec x) {
  const float shifter = 12582912.0f + 127.0f;  // 1.5 * 2^23: rounds to the nearest integer, left in the low bits
  const Vec shifted = x + shifter;
  const Vec r = x - (shifted - shifter);
  Vec p = r * 1.5353362e-4f + 1.3398874e-3f;
  p = p * r + 9.6184369e-3f;
  p = p * r + 5.5503324e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.0f;
  return x < -125.0f ? Vec{} : p * (Vec)((IntVec)shifted << 23);
}

// What both directions derive from the sizes.
struct Sizes {
  int64_t tokens;
  int64_t heads;
  int64_t headDim;
  int64_t paddedDim;   // headDim in whole Vecs
  int64_t dimStride;   // row stride of packed [tokens, headDim] blocks
  int64_t rowStride;   // of qkv
  int64_t keyBlock;    // keys per block, whole Vecs
  int64_t keyBlocks;
  int64_t keyStride;   // row stride of [anything, keyBlock] blocks
  float scale;

  Sizes(int64_t tokens, int64_t heads, int64_t headDim)
      : tokens(tokens),
        heads(heads),
        headDim(headDim),
        paddedDim(roundUp(headDim, kLanes)),
        dimStride(oddStride(headDim)),
        rowStride(3 * heads * headDim),
        keyBlock(roundUp(divideUp(tokens, divideUp(tokens, kMaxKeyBlock)), kLanes)),
        keyBlocks(divideUp(tokens, keyBlock)),
        keyStride(oddStride(keyBlock)),
        scale(1.0f / std::sqrt(static_cast<float>(headDim))) {}

  int64_t chunks(int64_t units, int64_t unitWork) const {
    return divideUp(units, larger(1, kWorkPerChunk / larger(1, unitWork)));
  }
};

float* alignedToCacheLine(float* p) {
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(p) + 63) & ~static_cast<uintptr_t>(63));
}
constexpr int64_t kAlignmentFloats = 16;

/// to[r, c] = factor * from[r, c], with zeros in the columns [columns, padded).
void packRows(const float* from, int64_t fromStride, int64_t rows, int64_t columns, int64_t padded, float factor,
              float* to, int64_t toStride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from + r * fromStride;
    float* out = to + r * toStride;
    for (int64_t c = 0; c < columns; ++c) out[c] = in[c] * factor;
    for (int64_t c = columns; c < padded; ++c) out[c] = 0.0f;
  }
}

/// to[c, r] = from[r, c], with zeros in the columns [rows, padded) of `to`. In squares of four.
void packTransposed(const float* from, int64_t fromStride, int64_t rows, int64_t columns, int64_t padded, float* to,
                    int64_t toStride) {
  typedef float Quad __attribute__((vector_size(16)));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float* in = from + r * fromStride;
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      Quad row[4];
      for (int i = 0; i < 4; ++i) std::memcpy(&row[i], in + i * fromStride + c, sizeof(Quad));
      const Quad low01 = shuffle<0, 4, 1, 5>(row[0], row[1]);
      const Quad low23 = shuffle<0, 4, 1, 5>(row[2], row[3]);
      const Quad high01 = shuffle<2, 6, 3, 7>(row[0], row[1]);
      const Quad high23 = shuffle<2, 6, 3, 7>(row[2], row[3]);
      const Quad column[4] = {shuffle<0, 1, 4, 5>(low01, low23), shuffle<2, 3, 6, 7>(low01, low23), shuffle<0, 1, 4, 5>(high01, high23),
                              shuffle<2, 3, 6, 7>(high01, high23)};
      for (int i = 0; i < 4; ++i) std::memcpy(to + (c + i) * toStride + r, &column[i], sizeof(Quad));
    }
    for (; c < columns; ++c)
      for (int i = 0; i < 4; ++i) to[c * toStride + r + i] = in[i * fromStride + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * toStride + r] = from[r * fromStride + c];
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t i = rows; i < padded; ++i) to[c * toStride + i] = 0.0f;
}

/// to[r, c] = factor * from[r, c], or += with `add`.
void unpackRows(const float* from, int64_t fromStride, int64_t rows, int64_t columns, float factor, bool add, float* to,
                int64_t toStride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from + r * fromStride;
    float* out = to + r * toStride;
    if (add)
      for (int64_t c = 0; c < columns; ++c) out[c] += factor * in[c];
    else
      for (int64_t c = 0; c < columns; ++c) out[c] = factor * in[c];
  }
}

void clear(float* p, int64_t count) { std::memset(p, 0, sizeof(float) * static_cast<size_t>(count)); }

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
