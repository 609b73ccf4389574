// A head's rows in shared memory for attention's kernels of sm_90a, as the TMA lays them down and wgmma takes them. A tile serves for
// products over columns (Q Kᵀ: K-major) and for those over rows (P V: MN-major). Of 32, 64 or 72 columns it is
//
//   lines    columns 0-63, row after row, 128 bytes each, swizzled over 128 bytes; or all 32, 64 bytes each, swizzled over 64
//     K-major     16 more of k: 32 bytes; the next 8 rows: 8 lines
//     MN-major    16 more of k: 16 lines
//   tail     columns 64-71, behind the last line: row after row, 16 bytes each, eight rows are one of wgmma's 8 x 8 matrices without swizzle
//     K-major     the next 8 rows: 128 bytes; the second 8 of k are not there: they come from `zeros`, 16 bytes for each of an operand's
//                 rows behind the tiles, for a matrix without swizzle may have its second 8 of k anywhere after the first
//     MN-major    16 more of k: 256 bytes
//
// A product over rows takes lines and tail by an instruction each, of 64 and of 8 columns.
#pragma once

#include <type_traits>

#include "cuda/attention_tile.cuh"
#include "cuda/ptx_shared.h"
#include "cuda/ptx_thread.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

constexpr int kWarpgroup = 128;
constexpr int kTail = 8;  // columns
template <int kColumns>
inline constexpr int kLine = kColumns < 64 ? 32 : 64;  // columns
template <int kColumns>
inline constexpr bool kHasTail = kColumns == kLine<kColumns> + kTail;

/// Elements of a tile.
template <int kRows, int kColumns>
inline constexpr int kTileElements = kRows * kColumns;

/// A tile's tail.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ T* tailOf(T* tile) {
  return tile + kRows * kLine<kColumns>;
}

// ---- Between global and shared memory.

/// What copies rows of [batch, tokens, columns] in boxes: those of a tile's lines and those of its tail.
struct RowMaps {
  CUtensorMap lines, tail;
};

template <int kColumns, class T>
RowMaps rowMaps(const T* base, int64_t batch, int64_t tokens, int64_t columns, int boxRows) {
  static_assert(kColumns == kLine<kColumns> || kHasTail<kColumns>);
  constexpr DType dtype = std::is_same_v<T, bf16> ? DType::bf16 : DType::f16;
  RowMaps maps = {};
  maps.lines = rowsOfSamplesMap(dtype, base, batch, tokens, columns, boxRows, kLine<kColumns>);
  if constexpr (kHasTail<kColumns>) maps.tail = rowsOfSamplesMap(dtype, base, batch, tokens, columns, boxRows, kTail);
  return maps;
}

/// One thread brings kColumns columns of a box of rows of a sample, from `row` on, to a tile of kRows, from row `to` on; those past the tokens
/// become zeros.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void loadBox(T* tile, int to, const RowMaps& maps, uint64_t* full, int firstColumn, int row, int sample) {
  const int at[3] = {firstColumn, row, sample};
  tmaLoad(tile + to * kLine<kColumns>, &maps.lines, full, at);
  if constexpr (kHasTail<kColumns>) {
    const int atTail[3] = {firstColumn + kLine<kColumns>, row, sample};
    tmaLoad(tailOf<kRows, kColumns>(tile) + to * kTail, &maps.tail, full, atTail);
  }
}

/// The way back, to `row` of the sample from row `from` of the tile on; what lies past the tokens is not written.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void storeBox(const T* tile, int from, const RowMaps& maps, int firstColumn, int row, int sample) {
  const int at[3] = {firstColumn, row, sample};
  tmaStore(&maps.lines, tile + from * kLine<kColumns>, at);
  if constexpr (kHasTail<kColumns>) {
    const int atTail[3] = {firstColumn + kLine<kColumns>, row, sample};
    tmaStore(&maps.tail, tailOf<kRows, kColumns>(tile) + from * kTail, atTail);
  }
}

/// Where a tile has eight columns, 8 unit and on, of a row.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ const T* unitOfTile(const T* tile, int row, int unit) {
  constexpr int units = kLine<kColumns> / 8;
  // Eight lines of 128 bytes, or four pairs of lines of 64, exchange their units in as many ways.
  return unit < units ? tile + row * kLine<kColumns> + (unit ^ row * units / 8 % units) * 8 : tailOf<kRows, kColumns>(tile) + row * kTail;
}

/// Rounds a warpgroup's 64 accumulated rows, times factor, to rows `row` and on of a tile.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void stageRows(T* tile, int row, const float (&d)[kColumns / 8][4], float factor) {
  static_assert(kLine<kColumns> == 64, "of lines of 128 bytes");
  const int thread = readThread(), lane = thread % 32;
  const int own = row + 16 * (thread / 32 % 4) + lane % 16;  // the row of a matrix that this lane points stmatrix to
  const auto rounded = [&](int columns, int half) { return pack2<T>(d[columns][2 * half] * factor, d[columns][2 * half + 1] * factor); };
  T* const lines = tile + own * kLine<kColumns>;
  const int unit = lane / 16 ^ lane % 8;
#pragma unroll
  for (int j = 0; j < kLine<kColumns> / 8; j += 2) {
    const uint32_t r[4] = {rounded(j, 0), rounded(j, 1), rounded(j + 1, 0), rounded(j + 1, 1)};
    stmatrix(lines + (unit ^ j) * 8, r);
  }
  if constexpr (kHasTail<kColumns>) {
    const uint32_t r[2] = {rounded(kLine<kColumns> / 8, 0), rounded(kLine<kColumns> / 8, 1)};
    stmatrix(tailOf<kRows, kColumns>(tile) + own * kTail, r);
  }
}

// ---- Products of a warpgroup. Issued, not waited for.

/// The lines of rows `row` and on of a tile: from eight of them to the next is a stride, whichever way they are taken.
template <int kColumns, class T>
__device__ __forceinline__ MatrixDescriptor linesFrom(const T* tile, int row) {
  constexpr int line = kLine<kColumns>;
  return matrixDescriptor(tile + row * line, 0, 8 * line * sizeof(T), line == 64 ? Swizzle::bytes128 : Swizzle::bytes64);
}

/// Rows `row` and on of a tile, columns [column, column + 16), as a K-major operand.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ MatrixDescriptor columnsOfRows(const T* tile, int row, int column, const T* zeros) {
  if (column < kLine<kColumns>) return advance(linesFrom<kColumns>(tile, row), column * sizeof(T));
  const T* const tail = tailOf<kRows, kColumns>(tile) + row * kTail;
  return matrixDescriptor(tail, sharedDistance(tail, zeros), 128, Swizzle::none);
}

/// d [64 x kN] =, or += where it accumulates, rows `row` and on of `a` times the transpose of rows `rowOfB` and on of `b`, over kColumns.
template <class T, int kRows, int kColumns, int kN>
__device__ __forceinline__ void multiplyTransposed(float (&d)[kN / 2], const T* a, int row, const T* b, int rowOfB, const T* zeros,
                                                   bool accumulate = false) {
#pragma unroll
  for (int column = 0; column < kColumns; column += 16)
    wgmma<T, kN>(d, columnsOfRows<kRows, kColumns>(a, row, column, zeros), columnsOfRows<kRows, kColumns>(b, rowOfB, column, zeros),
                 accumulate || column > 0);
}

/// A warpgroup's 64 rows of a tile as left operands of products over columns, in registers.
template <int kColumns>
struct LeftOperands {
  uint32_t steps[(kColumns + 15) / 16][4];

  /// Rows `row` and on. Of the tail's step the second 8 of k are zeros.
  template <int kRows, class T>
  __device__ __forceinline__ void load(const T* tile, int row) {
    const int thread = readThread(), lane = thread % 32;
    const int own = row + 16 * (thread / 32 % 4) + lane % 16;  // the row of a matrix that this lane points ldmatrix to
#pragma unroll
    for (int step = 0; step < kLine<kColumns> / 16; ++step) ldmatrix(steps[step], unitOfTile<kRows, kColumns>(tile, own, 2 * step + lane / 16));
    if constexpr (kHasTail<kColumns>) {
      uint32_t tail[2];
      ldmatrix(tail, unitOfTile<kRows, kColumns>(tile, own, kLine<kColumns> / 8));
      uint32_t(&last)[4] = steps[kLine<kColumns> / 16];
      last[0] = tail[0], last[1] = tail[1], last[2] = last[3] = 0;
    }
  }
};

/// d [64 x kN] = left operands times the transpose of rows `row` and on of `b`.
template <class T, int kRows, int kColumns, int kN>
__device__ __forceinline__ void multiplyTransposed(float (&d)[kN / 2], const LeftOperands<kColumns>& left, const T* b, int row, const T* zeros) {
#pragma unroll
  for (int column = 0; column < kColumns; column += 16)
    wgmma<T, kN>(d, left.steps[column / 16], columnsOfRows<kRows, kColumns>(b, row, column, zeros), column > 0);
}

/// Sixteen rows of a tile as an MN-major operand.
template <int kColumns>
struct SixteenRows {
  MatrixDescriptor lines, tail;

  /// So many rows further.
  __device__ __forceinline__ SixteenRows operator+(int rows) const {
    return {advance(lines, rows * kLine<kColumns> * 2), advance(tail, rows * kTail * 2)};
  }
};

/// Rows `row` to `row` + 15.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ SixteenRows<kColumns> sixteenRows(const T* tile, int row) {
  SixteenRows<kColumns> rows = {};
  rows.lines = linesFrom<kColumns>(tile, row);
  // Eight columns are one matrix wide: the stride to the next is not used.
  if constexpr (kHasTail<kColumns>) rows.tail = matrixDescriptor(tailOf<kRows, kColumns>(tile) + row * kTail, 128, 128, Swizzle::none);
  return rows;
}

/// d [64 x kColumns] += left [64 x 16] times sixteen rows, or = where it does not accumulate. `left` is in registers or, M-major, in shared
/// memory.
template <class T, int kColumns, class Left>
__device__ __forceinline__ void multiplyRows(float (&d)[kColumns / 2], const Left& left, const SixteenRows<kColumns>& rows, bool accumulate = true) {
  const auto multiply = [&]<int kN>(float(&part)[kN / 2], MatrixDescriptor right) {
    if constexpr (std::is_same_v<Left, MatrixDescriptor>) wgmma<T, kN, Major::mn, Major::mn>(part, left, right, accumulate);
    else wgmma<T, kN, Major::mn>(part, left, right, accumulate);
  };
  constexpr int line = kLine<kColumns>;
  multiply.template operator()<line>(reinterpret_cast<float(&)[line / 2]>(d), rows.lines);
  if constexpr (kHasTail<kColumns>) multiply.template operator()<kTail>(reinterpret_cast<float(&)[kTail / 2]>(d[line / 2]), rows.tail);
}

/// A warpgroup's accumulators as the 16 x 8 tiles of each warp's 16 rows.
template <int kRegisters>
__device__ __forceinline__ float (&tilesOf(float (&d)[kRegisters]))[kRegisters / 4][4] {
  return reinterpret_cast<float(&)[kRegisters / 4][4]>(d);
}
template <int kLefts, int kRegisters>
__device__ __forceinline__ float (&tilesOf(float (&d)[kLefts][kRegisters]))[kLefts][kRegisters / 4][4] {
  return reinterpret_cast<float(&)[kLefts][kRegisters / 4][4]>(d);
}

}  // namespace repa::cuda
