// An operand's part of a tile on its way from global memory through shared memory into the tensor cores' registers.
//
// A stage holds 128 rows (of A's m or B's n) times 64 bytes of k: 32 bf16 or 16 f32, the depth of two mma. What lies one after the other
// in global memory does so in shared memory too, cut into units of 16 bytes, which cp.async copies and ldmatrix reads:
//     k contiguous    [128][4 units]    unit u of row r lies at u ^ (r / 2 % 4)
//     rows contiguous [k][units of a row]    unit u of k lies at u ^ (k % 8), for f32 at u ^ (2 (k % 4))
// so that the eight units that one phase of ldmatrix reads (and of a copy writes) fall into different banks. The rows-contiguous form
// is transposed by ldmatrix.trans on its way into registers; f32, which that cannot transpose, is read number by number.
#pragma once

#include <type_traits>

#include "cuda/gemm_problem.h"
#include "cuda/kernel.h"

namespace repa::cuda {

constexpr int kMmaThreads = 128;
constexpr int kOperandRows = 128;
constexpr int kStageBytes = kOperandRows * 64;
static_assert(kTileRows == kOperandRows && kTileColumns == kOperandRows);

/// Elements of k in a stage.
template <class T>
constexpr int kStageDepth = 64 / sizeof(T);

/// Copies stage after stage of an operand; each thread 4 units.
template <class T, bool kContiguous, bool kAligned>
class OperandCopy {
  static constexpr int kUnit = 16 / sizeof(T);
  static constexpr int kUnitsAcross = kContiguous ? 4 : kOperandRows / kUnit;  // of what is contiguous
  static constexpr int kUnits = 4;                                            // of this thread, kApart lines apart
  static constexpr int kApart = kMmaThreads / kUnitsAcross;
  static constexpr int kLineBytes = 16 * kUnitsAcross;
  static_assert(kUnits * kMmaThreads * 16 == kStageBytes && (kContiguous || kUnits * kApart == kStageDepth<T>));

 public:
  /// Rows firstRow ... of `rows`, summands kBegin ... kEnd - 1. With kAligned, base, pitch and what is contiguous are multiples of 16 bytes,
  /// else base and pitch of `granule`.
  __device__ __forceinline__ OperandCopy(const void* base, int64_t pitch, int firstRow, int rows, int kBegin, int kEnd, int granule)
      : base_(static_cast<const T*>(base)), granule_(granule) {
    const int unit = threadIdx.x % kUnitsAcross, line = threadIdx.x / kUnitsAcross;
    if constexpr (kContiguous) {
      left_ = kEnd - kBegin - unit * kUnit;
      linesLeft_ = rows - firstRow - line;
      source_ = base_ + (firstRow + line) * pitch + kBegin + unit * kUnit;
      shared_ = line * kLineBytes + (unit ^ (line / 2 % 4)) * 16;
    } else {
      left_ = rows - firstRow - unit * kUnit;
      linesLeft_ = kEnd - kBegin - line;
      source_ = base_ + (kBegin + line) * pitch + firstRow + unit * kUnit;
      shared_ = line * kLineBytes + (unit ^ (sizeof(T) == 2 ? line % 8 : line % 4 * 2)) * 16;
    }
    apart_ = kApart * pitch;
  }

  /// Begins to copy the next stage. What lies beyond the operand becomes zero.
  __device__ __forceinline__ void next(unsigned char* stage) {
    const T* line = source_;  // walks: a product of every line's number would be made anew in every stage
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      unsigned char* const to = stage + shared_ + i * kApart * kLineBytes;
      const bool inside = i * kApart < linesLeft_ && left_ > 0;
      const T* const from = inside ? line : base_;
      if constexpr (kAligned) {
        // All or nothing is a predicate of the instruction; any other number of bytes takes six more to be made of the address.
        cpAsync<16>(to, from, inside ? 16 : 0);
      } else {
        copyUnit(to, from, inside ? min(kUnit, left_) * static_cast<int>(sizeof(T)) : 0);
      }
      line += apart_;
    }
    source_ = kContiguous ? source_ + kStageDepth<T> : line;
    (kContiguous ? left_ : linesLeft_) -= kStageDepth<T>;
  }

 private:
  __device__ __forceinline__ void copyUnit(unsigned char* to, const T* from, int bytes) const {
    if (granule_ == 8) {
      copyPieces<8>(to, from, bytes);
    } else if (granule_ == 4) {
      copyPieces<4>(to, from, bytes);
    } else {
#pragma unroll 1
      for (int i = 0; i < kUnit; ++i) reinterpret_cast<uint16_t*>(to)[i] = 2 * i < bytes ? reinterpret_cast<const uint16_t*>(from)[i] : uint16_t{0};
    }
  }

  template <int size>
  __device__ __forceinline__ void copyPieces(unsigned char* to, const T* from, int bytes) const {
#pragma unroll 1
    for (int i = 0; i < 16; i += size) {
      const int here = min(size, max(bytes - i, 0));
      cpAsync<size>(to + i, here > 0 ? reinterpret_cast<const unsigned char*>(from) + i : reinterpret_cast<const unsigned char*>(base_), here);
    }
  }

  const T* base_;
  const T* source_;
  int64_t apart_;
  int left_, linesLeft_;  // in the contiguous direction from this thread's unit on, and across it from its first line on
  int shared_, granule_;
};

/// Four 8 x 8 blocks (8 x 4 of f32) of a stage. As an A of 16 rows mma takes r[0] from rows 0-7 and r[1] from rows 8-15 of the first half of its
/// k, r[2] and r[3] of the second. As two B of 8 columns (kRight) r[0] and r[1] are the first eight's halves of k, r[2] and r[3] the others':
/// an operand's registers are neighbours as mma wants them, where others would be moved together for every mma.
template <class T, bool kContiguous, bool kRight>
class OperandFragments {
  static constexpr int kUnit = 16 / sizeof(T);

 public:
  /// From row firstRow of the tile on, a multiple of 64.
  __device__ __forceinline__ explicit OperandFragments(int firstRow) {
    const int lane = threadIdx.x % 32;
    const int low = lane % 8, rowHalf = kRight ? lane / 16 : lane / 8 % 2, kHalf = kRight ? lane / 8 % 2 : lane / 16;
    if constexpr (kContiguous) offset_ = (firstRow + 8 * rowHalf + low) * 64 + (kHalf ^ (low / 2)) * 16;
    else if constexpr (sizeof(T) == 2) offset_ = (8 * kHalf + low) * 256 + (firstRow / 8 + (rowHalf ^ low)) * 16;
    else offset_ = lane % 4 * 512 + ((firstRow / 4 + lane / 16) ^ (lane % 4 * 2)) * 16 + lane / 4 % 4 * 4;
  }

  /// Rows 16 i ... 16 i + 15 and the mma's worth of k number `half`.
  __device__ __forceinline__ void load(uint32_t (&r)[4], const unsigned char* stage, int i, int half) const {
    if constexpr (kContiguous) {
      ldmatrix(r, stage + (offset_ ^ (half * 32)) + i * 16 * 64);
    } else if constexpr (sizeof(T) == 2) {
      ldmatrixTransposed(r, stage + (offset_ ^ (i * 32)) + half * 16 * 256);
    } else {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int rowHalf = kRight ? q / 2 : q % 2, kHalf = kRight ? q % 2 : q / 2;
        r[q] = *reinterpret_cast<const uint32_t*>(stage + (offset_ ^ (i * 64 + rowHalf * 32)) + (half * 8 + kHalf * 4) * 512);
      }
    }
    if constexpr (std::is_same_v<T, float>) {
#pragma unroll
      for (uint32_t& bits : r) bits = roundToTf32(__uint_as_float(bits));
    }
  }

 private:
  int offset_;
};

}  // namespace repa::cuda
