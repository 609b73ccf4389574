// All pairs of the rows of two matrices: inner products (a b^T) or squared distances, in float or double. One block of at most
// kPairRows x kPairColumns pairs at a time, the second matrix packed so that the lanes of a vector are its rows.
//
// A distance is the sum of squared differences, not |a|^2 - 2ab + |b|^2: equal rows are at distance 0 exactly, however large they
// are, which a ball of radius 0 (an image that is there several times) depends on.
#pragma once

#include "cpu/pair_block_sizes.h"
#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {

template <class T>
struct PairVector;
template <>
struct PairVector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct PairVector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};

struct InnerProduct {
  template <class V>
  static inline V add(V sum, V a, V b) { return sum + a * b; }
};

struct SquaredDistance {
  template <class V>
  static inline V add(V sum, V a, V b) {
    const V difference = a - b;
    return sum + difference * difference;
  }
};

template <class T>
constexpr int kPairLanes = kVectorBytes / static_cast<int>(sizeof(T));
/// A tile in registers: 12 sums, two vectors and one broadcast element.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;
template <class T>
constexpr int kTileColumns = kTileVectors * kPairLanes<T>;

/// packed[k][column] of rows [0, columns) of b, columns beyond filled with zeros up to a whole tile.
template <class T>
static inline void packPairs(const T* b, int64_t stride, int64_t columns, int64_t depth, T* packed) {
  for (int64_t first = 0; first < columns; first += kTileColumns<T>) {
    for (int c = 0; c < kTileColumns<T>; ++c) {
      const bool isThere = first + c < columns;
      const T* row = b + (first + c) * stride;
      for (int64_t k = 0; k < depth; ++k) packed[k * kTileColumns<T> + c] = isThere ? row[k] : T{0};
    }
    packed += depth * kTileColumns<T>;
  }
}

template <class Pair, int rows, class T>
static inline void pairTile(const T* a, int64_t aStride, const T* packed, int64_t depth, T* out, int64_t outStride, int64_t columns, bool accumulate) {
  using V = typename PairVector<T>::type;
  V sums[rows][kTileVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    V b[kTileVectors];
    std::memcpy(b, packed + k * kTileColumns<T>, sizeof b);
    for (int r = 0; r < rows; ++r) {
      const V value = a[r * aStride + k] - V{};
      for (int v = 0; v < kTileVectors; ++v) sums[r][v] = Pair::add(sums[r][v], value, b[v]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    T values[kTileColumns<T>];
    std::memcpy(values, sums[r], sizeof values);
    T* to = out + r * outStride;
    for (int64_t c = 0; c < columns; ++c) to[c] = accumulate ? to[c] + values[c] : values[c];
  }
}

template <class Pair, class T>
static inline void pairTileRows(int rows, const T* a, int64_t aStride, const T* packed, int64_t depth, T* out, int64_t outStride, int64_t columns, bool accumulate) {
  switch (rows) {
    case 1: return pairTile<Pair, 1>(a, aStride, packed, depth, out, outStride, columns, accumulate);
    case 2: return pairTile<Pair, 2>(a, aStride, packed, depth, out, outStride, columns, accumulate);
    case 3: return pairTile<Pair, 3>(a, aStride, packed, depth, out, outStride, columns, accumulate);
    case 4: return pairTile<Pair, 4>(a, aStride, packed, depth, out, outStride, columns, accumulate);
    case 5: return pairTile<Pair, 5>(a, aStride, packed, depth, out, outStride, columns, accumulate);
    default: return pairTile<Pair, kTileRows>(a, aStride, packed, depth, out, outStride, columns, accumulate);
  }
}

/// out[i][j] (+)= sum over k of pair(a[i][k], b[j][k]), for at most kPairRows rows of a and kPairColumns of b. `packed` is scratch of
/// kPairColumns * kPairDepth elements. The order of the sum depends on `width` alone.
template <class Pair, class T>
static inline void pairBlock(const T* a, int64_t aStride, int64_t rows, const T* b, int64_t bStride, int64_t columns, int64_t width, T* packed, T* out,
                             int64_t outStride, bool accumulate) {
  if (width == 0 && !accumulate)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) out[r * outStride + c] = T{0};
  for (int64_t first = 0; first < width; first += kPairDepth) {
    const int64_t depth = width - first < kPairDepth ? width - first : kPairDepth;
    packPairs(b + first, bStride, columns, depth, packed);
    for (int64_t r = 0; r < rows; r += kTileRows) {
      const int tileRows = static_cast<int>(rows - r < kTileRows ? rows - r : kTileRows);
      for (int64_t c = 0; c < columns; c += kTileColumns<T>) {
        const int64_t tileColumns = columns - c < kTileColumns<T> ? columns - c : kTileColumns<T>;
        pairTileRows<Pair>(tileRows, a + r * aStride + first, aStride, packed + c * depth, depth, out + r * outStride + c, outStride, tileColumns,
                           accumulate || first > 0);
      }
    }
  }
}

}  // namespace repa::cpu::REPA_LEVEL
