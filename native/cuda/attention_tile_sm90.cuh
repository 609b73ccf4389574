// A head's rows in shared memory for attention's kernels of sm_90a, as the TMA lays them down and wgmma takes them. A tile serves for
// products over columns (Q Kᵀ: K-major) and for those over rows (P V: MN-major). There are two layouts:
//
//   lines, 64 columns    row after row, 128 bytes each, swizzled over 128 bytes
//     K-major            16 more of k: 32 bytes; the next 8 rows: 1024 bytes
//     MN-major           16 more of k: 16 lines
//   units, 72 columns    unit after unit, 8 columns each, and in a unit row after row, 16 bytes each: eight rows are one of wgmma's 8 x 8
//                        matrices without swizzle, 128 contiguous bytes
//     K-major            16 more of k: two units; the next 8 rows: 128 bytes
//     MN-major           16 more of k: 16 rows; the next 8 columns: a unit
//
// No swizzle of 128 bytes holds nine units. A product over 72 columns ends in a step of 16 of which 8 are not there: they come from
// `zeros`, 16 bytes for each of an operand's rows behind the tiles, for a matrix without swizzle may have its second 8 of k anywhere after
// the first. Where units are kRows rows apart that need not be the tile's rows: a few more keep neighbouring units out of one bank.
#pragma once

#include <limits>
#include <type_traits>

#include "cuda/attention_tile.cuh"
#include "cuda/tensor_map.h"

namespace repa::cuda {

constexpr int kWarpgroup = 128;
constexpr int kUnit = 8;   // columns
constexpr int kLine = 64;  // columns

template <int kColumns>
inline constexpr bool kInLines = kColumns == kLine;

/// Elements of a tile.
template <int kRows, int kColumns>
inline constexpr int kTileElements = kRows * kColumns;

/// Elements between units.
template <int kRows>
inline constexpr int kUnitPitch = kUnit * kRows;

// ---- From global memory.

/// Rows of the boxes that bring a whole tile; a box has 256 at most.
template <int kRows>
inline constexpr int kBoxRows = kRows <= 256 ? kRows : kRows / 2;

/// What brings whole tiles of kRows rows of [batch, tokens, columns], and blocks of boxRows rows.
template <int kRows, int kColumns, class T>
CUtensorMap tileMap(const T* base, int64_t batch, int64_t tokens, int64_t columns) {
  constexpr DType dtype = std::is_same_v<T, bf16> ? DType::bf16 : DType::f16;
  if constexpr (kInLines<kColumns>) return linesOfSamplesMap(dtype, base, batch, tokens, columns, kBoxRows<kRows>);
  else return unitsOfSamplesMap(dtype, base, batch, tokens, columns, kRows, kColumns / kUnit);
}
template <int kColumns, class T>
CUtensorMap blockMap(const T* base, int64_t batch, int64_t tokens, int64_t columns, int boxRows) {
  constexpr DType dtype = std::is_same_v<T, bf16> ? DType::bf16 : DType::f16;
  if constexpr (kInLines<kColumns>) return linesOfSamplesMap(dtype, base, batch, tokens, columns, boxRows);
  else return unitsOfSamplesMap(dtype, base, batch, tokens, columns, boxRows, 1);
}

/// One thread brings kColumns columns of all rows of a sample into a tile; rows past the tokens become zeros.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void loadTile(T* tile, const CUtensorMap& map, uint64_t* full, int firstColumn, int sample) {
  if constexpr (kInLines<kColumns>) {
#pragma unroll
    for (int row = 0; row < kRows; row += kBoxRows<kRows>) {
      const int at[3] = {firstColumn, row, sample};
      tmaLoad(tile + row * kLine, &map, full, at);
    }
  } else {
    static_assert(kRows <= 256, "a box has at most 256 rows");
    const int at[4] = {0, 0, firstColumn / kUnit, sample};
    tmaLoad(tile, &map, full, at);
  }
}

/// The same of a block of rows, from `row` on.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ void loadBlock(T* tile, const CUtensorMap& map, uint64_t* full, int firstColumn, int row, int sample) {
  if constexpr (kInLines<kColumns>) {
    const int at[3] = {firstColumn, row, sample};
    tmaLoad(tile + row * kLine, &map, full, at);
  } else {
    for (int unit = 0; unit < kColumns / kUnit; ++unit) {
      const int at[4] = {0, row, firstColumn / kUnit + unit, sample};
      tmaLoad(tile + unit * kUnitPitch<kRows> + row * kUnit, &map, full, at);
    }
  }
}

/// Begins to copy rows [first, first + count) of a head into a tile of units by cp.async, by `threads` threads of which this is `thread`;
/// rows past the tokens become zeros. Neighbouring threads take the units of a row. Divides for every copy and keeps nothing while the rest
/// of a kernel runs.
template <int kPitchRows, int kColumns, class T>
__device__ __forceinline__ void copyUnits(T* tile, HeadRows<const T> head, int first, int count, int tokens, int thread, int threads) {
  constexpr int units = kColumns / kUnit;
#pragma unroll 1
  for (int i = thread; i < count * units; i += threads) {
    const int row = first + i / units, unit = i % units;
    const bool inside = row < tokens;
    // Within a sample (copyUnitsReaches).
    const int from = inside ? row * static_cast<int>(head.stride) + unit * kUnit : 0;
    cpAsync<16>(tile + unit * kUnitPitch<kPitchRows> + row * kUnit, head.data + from, inside ? 16 : 0);
  }
}

/// Whether copyUnits can count to the last of so many rows of qkv.
inline bool copyUnitsReaches(int64_t rows, int64_t heads, int64_t columns) { return rows * 3 * heads * columns <= std::numeric_limits<int>::max(); }

/// Where a tile has a unit of a row.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ const T* unitOfTile(const T* tile, int row, int unit) {
  if constexpr (kInLines<kColumns>) return tile + row * kLine + (unit ^ row % 8) * kUnit;
  else return tile + unit * kUnitPitch<kRows> + row * kUnit;
}

// ---- Products of a warpgroup. Issued, not waited for.

/// Rows `row` and on of a tile, columns [column, column + 16), as a K-major operand.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ MatrixDescriptor columnsOfRows(const T* tile, int row, int column, const T* zeros) {
  if constexpr (kInLines<kColumns>) {
    return advance(matrixDescriptor(tile + row * kLine, 0, 1024, Swizzle::bytes128), column * sizeof(T));
  } else {
    const T* const first = tile + row * kUnit;
    if (column + 16 <= kColumns)
      return advance(matrixDescriptor(first, kUnitPitch<kRows> * sizeof(T), 128, Swizzle::none), column / kUnit * kUnitPitch<kRows> * sizeof(T));
    const T* const last = first + column / kUnit * kUnitPitch<kRows>;
    return matrixDescriptor(last, static_cast<unsigned>((zeros - last) * sizeof(T)), 128, Swizzle::none);
  }
}

/// d [64 x kN] = rows `row` and on of `a` times the transpose of rows `rowOfB` and on of `b`, over kColumns columns.
template <class T, int kRows, int kColumns, int kN>
__device__ __forceinline__ void multiplyTransposed(float (&d)[kN / 2], const T* a, int row, const T* b, int rowOfB, const T* zeros) {
#pragma unroll
  for (int column = 0; column < kColumns; column += 16)
    wgmma<T, kN>(d, columnsOfRows<kRows, kColumns>(a, row, column, zeros), columnsOfRows<kRows, kColumns>(b, rowOfB, column, zeros), column > 0);
}

/// Rows `row` to `row` + 15 of a tile as an MN-major operand.
template <int kRows, int kColumns, class T>
__device__ __forceinline__ MatrixDescriptor sixteenRows(const T* tile, int row) {
  if constexpr (kInLines<kColumns>) return matrixDescriptor(tile + row * kLine, 0, 1024, Swizzle::bytes128);
  else return matrixDescriptor(tile + row * kUnit, 128, kUnitPitch<kRows> * sizeof(T), Swizzle::none);
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
