// The tiles of which attention's tensor-core kernels are made: rows of one head in shared memory, and a warp's products with them.
//
// A head's rows lie in shared memory with a pitch of an odd number of 16-byte units (144 bytes for 64 and 72 columns), so that the
// eight rows of an 8 x 8 matrix fall into eight different groups of four banks: ldmatrix meets no conflict and needs no swizzle.
// Columns, the head's d padded to the kernel's compile-time `kColumns`, go in steps of 16 (m16n8k16) and where 8 are left over one
// step of 8 (m16n8k8): 72 = 4 * 16 + 8 costs no padding at all.
//
// Fragments. Lane 4 g + t of an accumulator holds rows g and g + 8, columns 2 t and 2 t + 1 (ptx_ampere.h). Two neighbouring
// accumulators of 16 x 8, rounded, are the left operand of 16 x 16 of the next product: P and dS never leave their registers for it.
#pragma once

#include "cuda/attention_arguments.h"
#include "cuda/attention_heads.cuh"

namespace repa::cuda {

/// A row's exponentials are 2^(c S - shift), with for shift the row's maximum at some time: any will do, for it cancels in o. So where keys
/// come in pieces it is raised, and o multiplied, only when a score passes it by this much, which after a row's first keys is rare
/// (FlashAttention-4 does the same); P may grow to 2^8 meanwhile, and its relative rounding stays what it is.
constexpr float kSlack = 8.0f;
/// The shift before the first key, and the least. Not -inf: a row whose scores are all -inf would become NaN by -inf + inf.
constexpr float kNoShift = -3e38f;

/// Elements between the rows of a tile in shared memory.
template <int kColumns>
inline constexpr int kPitch = (kColumns / 8 | 1) * 8;

__device__ __forceinline__ int laneId() { return static_cast<int>(threadIdx.x % 32); }
__device__ __forceinline__ int warpId() { return static_cast<int>(threadIdx.x / 32); }

/// Begins to copy rows [first, first + count) of a head to a tile, by `threads` threads of which this is `thread`; rows past the
/// tokens and columns past headDim become zeros. Aligned rows are copied asynchronously, for the caller to commit and wait for.
/// A thread keeps its column and goes down the rows, at two additions a copy; with kFewRegisters it divides for every copy instead, and
/// keeps nothing while the rest of a kernel runs.
template <int kColumns, bool kFewRegisters = false, class T>
__device__ __forceinline__ void loadRows(T* tile, HeadRows<const T> head, int first, int count, int tokens, int headDim, bool aligned,
                                         int thread, int threads) {
  constexpr int units = kColumns / 8;
  if (aligned && kFewRegisters) {
#pragma unroll 1
    for (int i = thread; i < count * units; i += threads) {
      const int row = i / units, column = i % units * 8;
      const bool inside = first + row < tokens && column < headDim;
      cpAsync<16>(tile + row * kPitch<kColumns> + column, inside ? head.row(first + row) + column : head.data, inside ? 16 : 0);
    }
  } else if (aligned) {
    const int rowsAtOnce = threads / units, column = thread % units * 8;
    int row = thread / units;
    if (row >= rowsAtOnce) return;  // the threads that make no whole row
    const T* from = head.row(first + row) + column;
    T* to = tile + row * kPitch<kColumns> + column;
#pragma unroll 1
    for (; row < count; row += rowsAtOnce) {
      const bool inside = first + row < tokens && column < headDim;
      cpAsync<16>(to, inside ? from : head.data, inside ? 16 : 0);
      from += rowsAtOnce * head.stride;
      to += rowsAtOnce * kPitch<kColumns>;
    }
  } else {
#pragma unroll 1
    for (int i = thread; i < count * kColumns; i += threads) {
      const int row = i / kColumns, column = i % kColumns;
      const bool inside = first + row < tokens && column < headDim;
      tile[row * kPitch<kColumns> + column] = inside ? head.row(first + row)[column] : T{};
    }
  }
}

// ---- Left operands: 16 rows of a tile.

/// The lane's address for four matrices: rows 0-7 and 8-15 of the first 8 columns, then of the second. It serves for two matrices
/// as well, for which lanes 16 to 31 are not looked at: one register less than an address of their own.
template <int kColumns>
__device__ __forceinline__ int quadrantOffset() {
  return laneId() % 16 * kPitch<kColumns> + laneId() / 16 * 8;
}

template <int kColumns, int kRegisters, class T>
__device__ __forceinline__ void loadLeft(uint32_t (&a)[kRegisters], const T* tile, int column) {
  ldmatrix(a, tile + quadrantOffset<kColumns>() + column);
}

/// 16 rows of a head as left operands, kept in registers.
template <int kColumns>
struct LeftRows {
  static constexpr int kSteps = kColumns / 16;
  uint32_t steps[kSteps][4];
  uint32_t last[2];  // where 8 columns are left over

  template <class T>
  __device__ __forceinline__ void load(const T* tile) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) loadLeft<kColumns>(steps[step], tile, 16 * step);
    if constexpr (kColumns % 16 != 0) loadLeft<kColumns>(last, tile, 16 * kSteps);
  }
};

// ---- Right operands.

/// Two operands of 16 x 8: 16 rows of a tile, transposed, of columns [column, column + 16). For products over columns.
template <int kColumns, class T>
__device__ __forceinline__ void loadRowsAsRight(uint32_t (&b)[4], const T* tile, int column) {
  ldmatrix(b, tile + (laneId() / 16 * 8 + laneId() % 8) * kPitch<kColumns> + column + laneId() / 8 % 2 * 8);
}
/// The same of 8 columns: two operands of 8 x 8.
template <int kColumns, class T>
__device__ __forceinline__ void loadRowsAsRight(uint32_t (&b)[2], const T* tile, int column) {
  ldmatrix(b, tile + quadrantOffset<kColumns>() + column);
}

template <class T>
__device__ __forceinline__ void multiply16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t b[2] = {b0, b1};
  mmaM16N8K16<T>(d, a, b);
}
template <class T>
__device__ __forceinline__ void multiply8(float (&d)[4], const uint32_t (&a)[2], uint32_t b0) {
  const uint32_t b[1] = {b0};
  mmaM16N8K8<T>(d, a, b);
}

// ---- Products of a warp.

/// d[i] [16 x 8 kTiles] += left[i] [16 x kColumns] * transpose(the first 8 kTiles rows of `tile`): every right operand is loaded once for
/// all of `left`.
template <class T, int kColumns, int kLefts, int kTiles>
__device__ __forceinline__ void multiplyByRows(float (&d)[kLefts][kTiles][4], const LeftRows<kColumns> (&left)[kLefts], const T* tile) {
  static_assert(kTiles % 2 == 0, "tiles go in pairs");
#pragma unroll
  for (int pair = 0; pair < kTiles / 2; ++pair) {
    const T* rows = tile + 16 * pair * kPitch<kColumns>;
#pragma unroll
    for (int step = 0; step < kColumns / 16; ++step) {
      uint32_t b[4];
      loadRowsAsRight<kColumns>(b, rows, 16 * step);
#pragma unroll
      for (int i = 0; i < kLefts; ++i) {
        multiply16<T>(d[i][2 * pair], left[i].steps[step], b[0], b[1]);
        multiply16<T>(d[i][2 * pair + 1], left[i].steps[step], b[2], b[3]);
      }
    }
    if constexpr (kColumns % 16 != 0) {
      uint32_t b[2];
      loadRowsAsRight<kColumns>(b, rows, kColumns - 8);
#pragma unroll
      for (int i = 0; i < kLefts; ++i) {
        multiply8<T>(d[i][2 * pair], left[i].last, b[0]);
        multiply8<T>(d[i][2 * pair + 1], left[i].last, b[1]);
      }
    }
  }
}

/// The same, with the left rows too in a tile.
template <class T, int kColumns, int kLefts, int kTiles>
__device__ __forceinline__ void multiplyByRows(float (&d)[kLefts][kTiles][4], const T* left, const T* tile) {
  static_assert(kTiles % 2 == 0, "tiles go in pairs");
#pragma unroll 2
  for (int step = 0; step < kColumns / 16; ++step) {
    uint32_t a[kLefts][4];
#pragma unroll
    for (int i = 0; i < kLefts; ++i) loadLeft<kColumns>(a[i], left + 16 * i * kPitch<kColumns>, 16 * step);
#pragma unroll
    for (int pair = 0; pair < kTiles / 2; ++pair) {
      uint32_t b[4];
      loadRowsAsRight<kColumns>(b, tile + 16 * pair * kPitch<kColumns>, 16 * step);
#pragma unroll
      for (int i = 0; i < kLefts; ++i) {
        multiply16<T>(d[i][2 * pair], a[i], b[0], b[1]);
        multiply16<T>(d[i][2 * pair + 1], a[i], b[2], b[3]);
      }
    }
  }
  if constexpr (kColumns % 16 != 0) {
    uint32_t a[kLefts][2];
#pragma unroll
    for (int i = 0; i < kLefts; ++i) loadLeft<kColumns>(a[i], left + 16 * i * kPitch<kColumns>, kColumns - 8);
#pragma unroll
    for (int pair = 0; pair < kTiles / 2; ++pair) {
      uint32_t b[2];
      loadRowsAsRight<kColumns>(b, tile + 16 * pair * kPitch<kColumns>, kColumns - 8);
#pragma unroll
      for (int i = 0; i < kLefts; ++i) {
        multiply8<T>(d[i][2 * pair], a[i], b[0]);
        multiply8<T>(d[i][2 * pair + 1], a[i], b[1]);
      }
    }
  }
}

/// d[i] [16 x 8 kTiles] += left[i] [16 x 16] * 16 rows of a tile, columns [column, column + 8 kTiles).
template <class T, int kColumns, int kLefts, int kTiles>
__device__ __forceinline__ void multiplyRows(float (&d)[kLefts][kTiles][4], const uint32_t (&left)[kLefts][4], const T* tile,
                                             int column = 0) {
  const T* row = tile + quadrantOffset<kColumns>() + column;
#pragma unroll
  for (int pair = 0; pair < kTiles / 2; ++pair) {
    uint32_t b[4];
    ldmatrixTransposed(b, row + 16 * pair);
#pragma unroll
    for (int i = 0; i < kLefts; ++i) {
      multiply16<T>(d[i][2 * pair], left[i], b[0], b[1]);
      multiply16<T>(d[i][2 * pair + 1], left[i], b[2], b[3]);
    }
  }
  if constexpr (kTiles % 2 != 0) {
    uint32_t b[2];
    ldmatrixTransposed(b, row + 8 * (kTiles - 1));
#pragma unroll
    for (int i = 0; i < kLefts; ++i) multiply16<T>(d[i][kTiles - 1], left[i], b[0], b[1]);
  }
}

/// Two neighbouring accumulators, rounded, as a left operand of 16 x 16.
template <class T>
__device__ __forceinline__ void roundToLeft(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
  a[0] = pack2<T>(low[0], low[1]);
  a[1] = pack2<T>(low[2], low[3]);
  a[2] = pack2<T>(high[0], high[1]);
  a[3] = pack2<T>(high[2], high[3]);
}

// ---- Results.

/// Lane t of four has element r of a 4 x 4 matrix's row t; afterwards it has that of column t.
__device__ __forceinline__ void transposeQuad(uint32_t (&r)[4]) {
  const int t = laneId() % 4;
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool upper = (t & distance) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & distance) continue;
      const uint32_t given = __shfl_xor_sync(kAll, upper ? r[i] : r[i | distance], distance);
      if (upper) r[i] = given;
      else r[i | distance] = given;
    }
  }
}

/// Rounds factor[0] times rows g, and factor[1] times rows g + 8, of accumulators [16 x 8 kTiles] to rows `first` and on of a head,
/// columns `column` and on; what lies past the tokens and headDim is left out. Four lanes that share a row first gather 16 bytes each:
/// a row's 64 columns are one run of 128 bytes in two stores.
template <class T, int kTiles>
__device__ __forceinline__ void storeRows(const float (&d)[kTiles][4], const float (&factor)[2], HeadRows<T> head, int first, int tokens,
                                          int headDim, bool aligned, int column = 0, int lane = laneId()) {
  const int t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + 8 * half;
    const bool inside = row < tokens;
    T* to = head.row(inside ? row : 0) + column;
    const int columns = inside ? headDim - column : 0;
    if (aligned) {
#pragma unroll
      for (int tile = 0; tile + 4 <= kTiles; tile += 4) {
        uint32_t r[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) r[i] = pack2<T>(d[tile + i][2 * half] * factor[half], d[tile + i][2 * half + 1] * factor[half]);
        transposeQuad(r);
        const int at = 8 * (tile + t);
        if (at < columns) storeGlobal(to + at, r);
      }
#pragma unroll
      for (int tile = kTiles / 4 * 4; tile < kTiles; ++tile) {
        const int at = 8 * tile + 2 * t;
        if (at < columns)
          *reinterpret_cast<uint32_t*>(to + at) = pack2<T>(d[tile][2 * half] * factor[half], d[tile][2 * half + 1] * factor[half]);
      }
    } else {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int at = 8 * tile + 2 * t + i;
          if (at < columns) to[at] = fromFloat<T>(d[tile][2 * half + i] * factor[half]);
        }
    }
  }
}

}  // namespace repa::cuda
