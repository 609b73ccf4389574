// How a consumer of gemm_sm90.cu finishes its 128 x 128 sums straight from registers, for the epilogues that a training step is full of;
// gemm_epilogue.cuh finishes the others, and whatever is not aligned.
//
// A thread holds pairs of neighbouring columns: of each 64 rows, rows g and g + 8 of its warp's 16 (lane = 4 g + t), columns 8 j + 2 t and
// the next. 16-bit results go through shared memory to the TMA, which writes whole lines and leaves out what lies beyond C:
//
//     sums ──▶ bias, activation ──▶ stmatrix ──▶ staging: two halves of 128 rows x 64 columns, swizzled ──▶ TMA store, while the
//                                                                                             consumer goes on to its next tile
// A backward kind's pre-activations come the same way back: the TMA brings them into the staging while the tile is multiplied, ldmatrix
// gives every thread just those that belong to its sums, and the results take their place. So does the residual stream, in floats: a
// tile's first two quarters of 32 columns while it is multiplied, the other two when those have gone back with the branch added, and y,
// where it is kept, has a half of its own. Floats that are only written need no staging: the four lanes of a row write a whole sector.
#pragma once

#include "cuda/activation_math.h"
#include "cuda/gemm_problem.h"
#include "cuda/kernel.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

enum class Finish { general, store, silu, geluTanh, geluErf, gatedResidual, siluBackward, geluTanhBackward };

/// Whether `finish` reads a matrix of C's shape and the operands' dtype: pre-activations.
template <Finish finish>
inline constexpr bool kReadsPreActivations = finish == Finish::siluBackward || finish == Finish::geluTanhBackward;
template <Finish finish>
inline constexpr bool kIsActivation = finish == Finish::silu || finish == Finish::geluTanh || finish == Finish::geluErf;

constexpr int kHalfColumns = 64;                    // of a tile: what a line of 128 bytes holds
constexpr int kHalfBytes = 128 * kHalfColumns * 2;  // of 128 rows
constexpr int kQuarterColumns = 32;                 // as many floats in a line
/// Of a consumer: two halves; or two quarters in floats, which are as large, and a half of y.
template <Finish finish>
constexpr int kStagingBytes = (finish == Finish::gatedResidual ? 3 : 2) * kHalfBytes;
constexpr int kArrivals = 2;  // barriers of a consumer

/// What the finish reads and writes beside the operands, in boxes of 128 rows.
struct FinishMaps {
  CUtensorMap c, aux, residual;
};

template <Finish finish>
FinishMaps finishMaps(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  const auto map = [&](DType dtype, const void* base, int64_t pitch) {
    return matrixMap(dtype, base, args.m, args.n, pitch, kTileRows, dtype == DType::f32 ? kQuarterColumns : kHalfColumns);
  };
  FinishMaps maps = {};
  if (args.cDType != DType::f32 || finish == Finish::gatedResidual) maps.c = map(args.cDType, args.c, args.ldc);
  if (e.aux) maps.aux = map(args.dtype, e.aux, e.auxStride);
  if (finish == Finish::gatedResidual) maps.residual = map(DType::f32, e.residual, e.residualStride);
  return maps;
}

/// Where a consumer works.
struct FinishPlace {
  int warp, lane;         // of the four warps of its warpgroup
  int barrier;            // the named barrier of its warpgroup
  unsigned char* staging;
  uint64_t* arrived;      // [kArrivals]
  float* columnSums;      // [4][64]
};

template <Finish finish, class T>
class DirectFinish {
 public:
  __device__ __forceinline__ DirectFinish(const FinishPlace& at) : at_(at), elected_(at.warp == 0 && at.lane == 0) {
    // Lane l points ldmatrix and stmatrix to row l % 16 of the warp's, and to the second 8 columns from lane 16 on.
    fragment_ = at.staging + (16 * at.warp + at.lane % 16) * 128 + ((at.lane / 16 ^ at.lane % 8) << 4);
  }

  /// Asks for what a tile's epilogue reads.
  __device__ __forceinline__ void begin(const FinishMaps& maps, int firstRow, int firstColumn) const {
    if constexpr (kReadsPreActivations<finish>) {
      if (!elected_) return;
      bulkWaitRead<0>();
      mbarrierArriveExpect(at_.arrived, 2 * kHalfBytes);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int from[2] = {firstColumn + half * kHalfColumns, firstRow};
        tmaLoad(at_.staging + half * kHalfBytes, &maps.aux, at_.arrived, from);
      }
    } else if constexpr (finish == Finish::gatedResidual) {
      readQuarters(maps, firstRow, firstColumn);
    }
  }

  /// Finishes the rows from `firstRow` on, of which those before `endRow` are C's, and the columns from `firstColumn` on.
  __device__ __forceinline__ void run(const float (&sums)[2][64], const GemmProblem& problem, const FinishMaps& maps, int firstRow, int endRow, int firstColumn, int tileRow) {
    if constexpr (finish == Finish::gatedResidual) {
      addToResidual<0>(sums, problem.args, maps, firstRow, firstColumn);
      readQuarters(maps, firstRow, firstColumn + kHalfColumns);
      addToResidual<1>(sums, problem.args, maps, firstRow, firstColumn + kHalfColumns);
    } else {
      if constexpr (kReadsPreActivations<finish>) {
        mbarrierWait(at_.arrived, parity_);
        parity_ ^= 1;
      }
      half<0>(sums, problem, maps, firstRow, endRow, firstColumn, tileRow);
      half<1>(sums, problem, maps, firstRow, endRow, firstColumn + kHalfColumns, tileRow);
    }
  }

  /// Shared memory may be somebody else's afterwards.
  __device__ __forceinline__ void end() const {
    if (elected_) bulkWaitRead<0>();
  }

 private:
  /// Whether a half has two results, which share the staging: its pre-activations and their activations. Else each half has a place of its own.
  __device__ __forceinline__ static bool storesTwo(const GemmEpilogue& e) { return kIsActivation<finish> && e.aux != nullptr; }

  template <int index>
  __device__ __forceinline__ void half(const float (&sums)[2][64], const GemmProblem& problem, const FinishMaps& maps, int firstRow, int endRow, int firstColumn,
                                       int tileRow) const {
    const GemmArgs& args = problem.args;
    const GemmEpilogue& e = args.epilogue;
    const int n = static_cast<int>(args.n);
    const int row = firstRow + 16 * at_.warp + at_.lane / 4, column = firstColumn + at_.lane % 4 * 2;
    if (finish == Finish::store && args.cDType == DType::f32) {
      float bias[8][2];
      readPairs(bias, e.bias, column, n);
#pragma unroll
      for (int f = 0; f < 2; ++f) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int at = row + 64 * f + 8 * r;
          float out[8][2] = {};
          if (args.accumulate) readRow(out, static_cast<const float*>(args.c), args.ldc, at, endRow, column, n);
#pragma unroll
          for (int j = 0; j < 8; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) out[j][i] += sums[f][32 * index + 4 * j + 2 * r + i] + bias[j][i];
          writeRow(out, static_cast<float*>(args.c), args.ldc, at, endRow, column, n);
        }
      }
    } else {
      const bool two = storesTwo(e);
      if (!kReadsPreActivations<finish> && (index == 0 || two)) waitForStaging();
      float bias[4][2] = {}, ofColumns[8][2] = {};
#pragma unroll
      for (int jj = 0; jj < 8; jj += 2) {
        if (!kReadsPreActivations<finish> && jj % 4 == 0) readPairs(bias, e.bias, column + 8 * jj, n);
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          uint32_t pre[4], out[4];
          if constexpr (kReadsPreActivations<finish>) ldmatrix(pre, fragment(f, jj, index));
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int j = jj + i / 2;
            float lo = sums[f][32 * index + 4 * jj + 2 * i], hi = sums[f][32 * index + 4 * jj + 2 * i + 1];
            if constexpr (kReadsPreActivations<finish>) {
              const FloatPair p = unpack2<T>(pre[i]);
              lo *= slope(p.lo);
              hi *= slope(p.hi);
              ofColumns[j][0] += lo;
              ofColumns[j][1] += hi;
            } else {
              lo += bias[j % 4][0];
              hi += bias[j % 4][1];
              if constexpr (kIsActivation<finish>) {
                // Of what the operands' dtype holds, kept or not: a model computes the same with a backward pass as without.
                pre[i] = pack2<T>(lo, hi);
                const FloatPair p = unpack2<T>(pre[i]);
                lo = activation(p.lo);
                hi = activation(p.hi);
              }
            }
            out[i] = pack2<T>(lo, hi);
          }
          if (kIsActivation<finish> && two) {
            stmatrix(fragment(f, jj, 0), pre);
            stmatrix(fragment(f, jj, 1), out);
          } else {
            stmatrix(fragment(f, jj, index), out);
          }
        }
      }
      if (kIsActivation<finish> && two) {
        fenceProxyAsync();
        namedBarrierSync(at_.barrier, 128);
        if (elected_) {
          const int to[2] = {firstColumn, firstRow};
          tmaStore(&maps.aux, at_.staging, to);
          tmaStore(&maps.c, at_.staging + kHalfBytes, to);
          bulkCommit();
        }
      } else {
        sendHalf(&maps.c, index, firstRow, firstColumn);
      }
      if (kReadsPreActivations<finish> && problem.columnSums) sumColumns(ofColumns, problem.columnSums, tileRow, firstColumn, n);
    }
  }

  /// Asks for the residual of half a tile: a quarter into each half of the staging, once what they held has left.
  __device__ __forceinline__ void readQuarters(const FinishMaps& maps, int firstRow, int firstColumn) const {
    if (!elected_) return;
    bulkWaitRead<0>();
#pragma unroll
    for (int quarter = 0; quarter < 2; ++quarter) {
      const int from[2] = {firstColumn + quarter * kQuarterColumns, firstRow};
      mbarrierArriveExpect(&at_.arrived[quarter], kHalfBytes);
      tmaLoad(at_.staging + quarter * kHalfBytes, &maps.residual, &at_.arrived[quarter], from);
    }
  }

  /// C = residual + gate * y, y = sums + bias, for half a tile. A quarter's sums take the residual's place.
  template <int half>
  __device__ __forceinline__ void addToResidual(const float (&sums)[2][64], const GemmArgs& args, const FinishMaps& maps, int firstRow, int firstColumn) const {
    constexpr int kYHalf = 2;
    const GemmEpilogue& e = args.epilogue;
    const int n = static_cast<int>(args.n);
    // All rows of the tile have the same gate, or the launcher would have taken the general way.
    const float* const gates = e.gate + static_cast<int64_t>(firstRow / static_cast<int>(e.rowsPerGate)) * e.gateStride;
#pragma unroll
    for (int quarter = 0; quarter < 2; ++quarter) {
      float gate[4][2], bias[4][2];
      const int column = firstColumn + quarter * kQuarterColumns + at_.lane % 4 * 2;
      readPairs(gate, gates, column, n);
      readPairs(bias, e.bias, column, n);
      mbarrierWait(&at_.arrived[quarter], half);  // twice a tile, so the first time is always of parity 0
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        uint32_t y[2][4];
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int at = 32 * half + 16 * quarter + 4 * j + 2 * r;
            const float lo = sums[f][at] + bias[j][0], hi = sums[f][at + 1] + bias[j][1];
            y[j / 2][j % 2 * 2 + r] = pack2<T>(lo, hi);
            float2* const x = residual(quarter, 64 * f + 8 * r, j);
            const float2 before = *x;
            *x = {before.x + gate[j][0] * lo, before.y + gate[j][1] * hi};
          }
        if (e.aux) {
          stmatrix(fragment(f, 4 * quarter, kYHalf), y[0]);
          stmatrix(fragment(f, 4 * quarter + 2, kYHalf), y[1]);
        }
      }
      fenceProxyAsync();
      namedBarrierSync(at_.barrier, 128);
      if (elected_) {
        const int to[2] = {firstColumn + quarter * kQuarterColumns, firstRow};
        tmaStore(&maps.c, at_.staging + quarter * kHalfBytes, to);
        if (e.aux && quarter == 1) {
          const int toY[2] = {firstColumn, firstRow};
          tmaStore(&maps.aux, at_.staging + kYHalf * kHalfBytes, toY);
        }
        bulkCommit();
      }
    }
  }

  /// The thread's pair of floats in a quarter: of its row (and `below` more), columns 8 j + 2 t.
  __device__ __forceinline__ float2* residual(int quarter, int below, int j) const {
    const int row = 16 * at_.warp + at_.lane / 4, t = at_.lane % 4;
    const int offset = quarter * kHalfBytes + (row + below) * 128 + (((2 * j + t / 2) ^ (row % 8)) << 4) + t % 2 * 8;
    return reinterpret_cast<float2*>(at_.staging + offset);
  }

  __device__ __forceinline__ static float activation(float p) {
    if constexpr (finish == Finish::silu) return silu<T>(p);
    else if constexpr (finish == Finish::geluErf) return geluErf<T>(p);
    else return geluTanh<T>(p);
  }
  __device__ __forceinline__ static float slope(float p) {
    if constexpr (finish == Finish::siluBackward) return siluSlope<T>(p);
    else return geluTanhSlope<T>(p);
  }

  /// Where ldmatrix and stmatrix find 16 rows x 16 columns: the warp's of 64 rows, columns 8 j and on, j even.
  __device__ __forceinline__ unsigned char* fragment(int f, int j, int half) const {
    unsigned char* const rows = fragment_ + half * kHalfBytes + f * 64 * 128;
    return reinterpret_cast<unsigned char*>(reinterpret_cast<uintptr_t>(rows) ^ static_cast<uintptr_t>(j << 4));
  }

  /// Until what was staged last has left.
  __device__ __forceinline__ void waitForStaging() const {
    if (elected_) bulkWaitRead<0>();
    namedBarrierSync(at_.barrier, 128);
  }
  __device__ __forceinline__ void sendHalf(const CUtensorMap* map, int half, int firstRow, int firstColumn) const {
    fenceProxyAsync();
    namedBarrierSync(at_.barrier, 128);
    if (elected_) {
      const int to[2] = {firstColumn, firstRow};
      tmaStore(map, at_.staging + half * kHalfBytes, to);
      bulkCommit();
    }
  }

  /// The pairs of a row that are a thread's: columns column + 8 j and the next. n is even.
  template <int pairs>
  __device__ __forceinline__ static void readPairs(float (&to)[pairs][2], const float* from, int column, int n) {
#pragma unroll
    for (int j = 0; j < pairs; ++j) {
      float2 pair = {0.0f, 0.0f};
      if (from && column + 8 * j < n) pair = *reinterpret_cast<const float2*>(from + column + 8 * j);
      to[j][0] = pair.x, to[j][1] = pair.y;
    }
  }
  template <int pairs>
  __device__ __forceinline__ static void readRow(float (&to)[pairs][2], const float* matrix, int64_t stride, int row, int endRow, int column, int n) {
    readPairs(to, row < endRow ? matrix + row * stride : nullptr, column, n);
  }
  template <int pairs>
  __device__ __forceinline__ static void writeRow(const float (&from)[pairs][2], float* matrix, int64_t stride, int row, int endRow, int column, int n) {
    if (row >= endRow) return;
    float* const to = matrix + row * stride + column;
#pragma unroll
    for (int j = 0; j < pairs; ++j)
      if (column + 8 * j < n) *reinterpret_cast<float2*>(to + 8 * j) = {from[j][0], from[j][1]};
  }

  /// Sums a half's columns over the tile's rows: of the eight lanes that hold a column, by halving, until lane l has columns 2 l and the
  /// next; then of the four warps, in order.
  __device__ __forceinline__ void sumColumns(float (&v)[8][2], float* out, int tileRow, int firstColumn, int n) const {
#pragma unroll
    for (int kept = 4; kept >= 1; kept /= 2) {
      const bool upper = (at_.lane & 4 * kept) != 0;
#pragma unroll
      for (int j = 0; j < kept; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float sent = upper ? v[j][i] : v[j + kept][i], own = upper ? v[j + kept][i] : v[j][i];
          v[j][i] = own + __shfl_xor_sync(0xffffffffu, sent, 4 * kept);
        }
    }
    *reinterpret_cast<float2*>(at_.columnSums + at_.warp * kHalfColumns + 2 * at_.lane) = {v[0][0], v[0][1]};
    namedBarrierSync(at_.barrier, 128);
    const int own = 32 * at_.warp + at_.lane;
    if (own < kHalfColumns && firstColumn + own < n) {
      float sum = 0.0f;
#pragma unroll
      for (int w = 0; w < 4; ++w) sum += at_.columnSums[w * kHalfColumns + own];
      out[static_cast<int64_t>(tileRow) * n + firstColumn + own] = sum;
    }
    namedBarrierSync(at_.barrier, 128);
  }

  FinishPlace at_;
  bool elected_;
  unsigned parity_ = 0;  // of the next pre-activations' phase
  unsigned char* fragment_;
};

}  // namespace repa::cuda
