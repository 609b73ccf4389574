// How a consumer of gemm_sm90_kernel.cuh finishes its sums straight from registers, for the epilogues that a training step is full of;
// gemm_epilogue.cuh finishes the others, and whatever is not aligned.
//
// A thread holds pairs of neighbouring columns: of each 64 rows, rows g and g + 8 of its warp's 16 (lane = 4 g + t), columns 8 j + 2 t and
// the next. 16-bit results go through shared memory to the TMA, which writes whole lines and leaves out what lies beyond C, in strips of
// 64 columns, which have two places in turns:
//
//     sums ──▶ bias, activation ──▶ stmatrix ──▶ staging: a strip of 64 columns, swizzled ──▶ TMA store, while the consumer goes on
//
// A backward kind's pre-activations come the same way back: the TMA brings the first two strips into the staging while the tile is
// multiplied and each other when the place before it is free, ldmatrix gives every thread just those that belong to its sums, and the
// results take their place. So does the residual stream, in floats: a strip as two halves of 32 columns, the first while the tile is
// multiplied, the others when those before have gone back with the branch added; and y, where it is kept, has a place of its own. Floats
// that are only written need no staging: the four lanes of a row write a whole sector.
#pragma once

#include "cuda/activation_math.h"
#include "cuda/gemm_sm90.h"
#include "cuda/kernel.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

/// Whether `finish` reads a matrix of C's shape and the operands' dtype: pre-activations.
template <Finish finish>
inline constexpr bool kReadsPreActivations = finish == Finish::siluBackward || finish == Finish::geluTanhBackward;
template <Finish finish>
inline constexpr bool kIsActivation =
    finish == Finish::silu || finish == Finish::geluTanh || finish == Finish::geluErf || finish == Finish::quickGelu;

constexpr int kStripColumns = 64;  // what a line of 128 bytes holds
constexpr int kHalfColumns = 32;   // as many floats in a line
constexpr int kPlaces = 2;         // for strips, or for the halves of one in floats, which are as large
constexpr int kResidualYPlace = 2;
template <int rows>
constexpr int kPlaceBytes = rows * kStripColumns * 2;
/// Of a consumer of so many rows.
template <Finish finish, int rows>
constexpr int kStagingBytes = (finish == Finish::gatedResidual ? kPlaces + 1 : kPlaces) * kPlaceBytes<rows>;
constexpr int kArrivals = kPlaces;  // barriers of a consumer

/// What the finish reads and writes beside the operands, in boxes of a consumer's rows.
struct FinishMaps {
  CUtensorMap c, aux, residual;
};

template <Finish finish, int rows>
FinishMaps finishMaps(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  const auto map = [&](DType dtype, const void* base, int64_t pitch) {
    return matrixMap(dtype, base, args.m, args.n, pitch, rows, dtype == DType::f32 ? kHalfColumns : kStripColumns);
  };
  FinishMaps maps = {};
  if (args.cDType != DType::f32 || finish == Finish::gatedResidual) maps.c = map(args.cDType, args.c, args.ldc);
  if (e.aux) maps.aux = map(args.dtype, e.aux, e.auxStride);
  if (finish == Finish::gatedResidual) maps.residual = map(DType::f32, e.residual, e.residualStride);
  return maps;
}

/// Where a consumer works.
struct FinishPlace {
  int thread;             // of its warpgroup
  int barrier;            // the named barrier of its warpgroup
  unsigned char* staging;
  uint64_t* arrived;      // [kArrivals]
  float* ofColumns;       // [4][64]: sums, of each warp; or [2][kColumns]: gate and bias
};

/// What it finishes: the rows from firstRow on, of which those before endRow are C's, and the columns from firstColumn on.
struct FinishTile {
  const GemmProblem& problem;
  const FinishMaps& maps;
  int firstRow, endRow, firstColumn;
  int tileRow;  // of C's rows of tiles
  int round;    // how many tiles the consumer has finished before
};

/// For a consumer's kRows rows, 64 or 128, of a tile of kColumns columns.
template <Finish finish, class T, int kRows, int kColumns>
class DirectFinish {
 public:
  static constexpr int kLefts = kRows / 64, kStrips = kColumns / kStripColumns, kSums = kColumns / 2;
  using Sums = float[kLefts][kSums];
  static constexpr bool kWholeColumns = kColumns == kTile192.columns;  // n is a multiple (tilesSm90)
  /// Of a row's, read at once: 192 sums a thread leave room for fewer.
  static constexpr int kPairs = kLefts * kSums > 128 ? 2 : 4, kFloatPairs = kLefts * kSums > 128 ? 2 : 8;

  __device__ __forceinline__ DirectFinish(const FinishPlace& at, const FinishTile& tile) : at_(at), tile_(tile) {}

  /// Asks for what the epilogue reads first.
  __device__ __forceinline__ void begin() const {
    if constexpr (kReadsPreActivations<finish>) {
      if (at_.thread != 0) return;
      bulkWaitRead<0>();
#pragma unroll
      for (int place = 0; place < kPlaces; ++place) readPreActivations(place, tile_.firstColumn + place * kStripColumns);
    } else if constexpr (finish == Finish::gatedResidual) {
      readResidual(tile_.firstColumn);
    }
  }

  /// What waits for no sums: done while the last are computed.
  __device__ __forceinline__ void prepare() const {
    if constexpr (finish == Finish::gatedResidual) readGateAndBias();
  }

  __device__ __forceinline__ void run(const Sums& sums) const {
    if constexpr (finish == Finish::gatedResidual) namedBarrierSync(at_.barrier, 128);  // gate and bias are there
    strips<0>(sums);
  }

 private:
  /// From strip `index` on.
  template <int index>
  __device__ __forceinline__ void strips(const Sums& sums) const {
    const int column = tile_.firstColumn + index * kStripColumns;
    if constexpr (finish == Finish::gatedResidual) {
      addToResidual<index>(sums, column);
      if constexpr (index + 1 < kStrips) readResidual(column + kStripColumns);
    } else {
      finishStrip<index>(sums, column);
    }
    if constexpr (index + 1 < kStrips) strips<index + 1>(sums);
  }

  /// Whether a strip has two results, one in each place: its pre-activations and their activations. Else strips take turns.
  __device__ __forceinline__ static bool storesTwo(const GemmEpilogue& e) { return kIsActivation<finish> && e.aux != nullptr; }

  template <int index>
  __device__ __forceinline__ void finishStrip(const Sums& sums, int firstColumn) const {
    constexpr int place = index % kPlaces;
    const GemmArgs& args = tile_.problem.args;
    const GemmEpilogue& e = args.epilogue;
    const int n = static_cast<int>(args.n);
    const int warp = at_.thread / 32, lane = at_.thread % 32;
    const int row = tile_.firstRow + 16 * warp + lane / 4, column = firstColumn + lane % 4 * 2;
    const int fragments = ownFragments(warp, lane);
    if (finish == Finish::store && args.cDType == DType::f32) {
#pragma unroll
      for (int jj = 0; jj < 8; jj += kFloatPairs) {
        constexpr int pairs = kFloatPairs;
        float bias[pairs][2];
        readPairs(bias, e.bias, column + 8 * jj, n);
#pragma unroll
        for (int f = 0; f < kLefts; ++f) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int at = row + 64 * f + 8 * r;
            float out[pairs][2] = {};
            if (args.accumulate) readRow(out, static_cast<const float*>(args.c), args.ldc, at, tile_.endRow, column + 8 * jj, n);
#pragma unroll
            for (int j = 0; j < pairs; ++j)
#pragma unroll
              for (int i = 0; i < 2; ++i) out[j][i] += sums[f][32 * index + 4 * (jj + j) + 2 * r + i] + bias[j][i];
            writeRow(out, static_cast<float*>(args.c), args.ldc, at, tile_.endRow, column + 8 * jj, n);
          }
        }
      }
    } else {
      const bool two = storesTwo(e);
      if constexpr (kReadsPreActivations<finish>) {
        // The strip before has been sent by now: when it is read, the next may come into its place.
        if constexpr (index > 0 && index + 1 < kStrips) {
          if (at_.thread == 0) {
            bulkWaitRead<0>();
            readPreActivations(1 - place, firstColumn + kStripColumns);
          }
        }
        waitForArrival(place, index / kPlaces, (kStrips - place + 1) / kPlaces);
      } else if (two || index == 0) {
        waitForStaging<0>();
      } else if constexpr (index >= kPlaces) {
        waitForStaging<kPlaces - 1>();
      }
      float bias[kPairs][2] = {}, ofColumns[8][2] = {};
#pragma unroll
      for (int jj = 0; jj < 8; jj += 2) {
        if (!kReadsPreActivations<finish> && jj % kPairs == 0) readPairs(bias, e.bias, column + 8 * jj, n);
#pragma unroll
        for (int f = 0; f < kLefts; ++f) {
          uint32_t out[4];  // pre-activations at first, where there are any
          if constexpr (kReadsPreActivations<finish>) ldmatrix(out, fragment(fragments, f, jj, place));
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int j = jj + i / 2;
            float lo = sums[f][32 * index + 4 * jj + 2 * i], hi = sums[f][32 * index + 4 * jj + 2 * i + 1];
            if constexpr (kReadsPreActivations<finish>) {
              const FloatPair p = unpack2<T>(out[i]);
              lo *= slope(p.lo);
              hi *= slope(p.hi);
              ofColumns[j][0] += lo;
              ofColumns[j][1] += hi;
            } else {
              lo += bias[j % kPairs][0];
              hi += bias[j % kPairs][1];
            }
            out[i] = pack2<T>(lo, hi);
          }
          if constexpr (kIsActivation<finish>) {
            if (two) stmatrix(fragment(fragments, f, jj, 0), out);
            // Of what the operands' dtype holds, kept or not: a model computes the same with a backward pass as without.
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const FloatPair p = unpack2<T>(out[i]);
              out[i] = pack2<T>(activation(p.lo), activation(p.hi));
            }
          }
          stmatrix(fragment(fragments, f, jj, kIsActivation<finish> && two ? 1 : place), out);
          keepInOrder();
        }
      }
      const int to[2] = {firstColumn, tile_.firstRow};
      if (kIsActivation<finish> && two) {
        send([&] {
          tmaStore(&tile_.maps.aux, staging(0), to);
          tmaStore(&tile_.maps.c, staging(1), to);
        });
      } else {
        send([&] { tmaStore(&tile_.maps.c, staging(place), to); });
      }
      if (kReadsPreActivations<finish> && tile_.problem.columnSums) sumColumns(ofColumns, firstColumn, n);
    }
  }

  /// Asks for a strip's pre-activations: one thread does.
  __device__ __forceinline__ void readPreActivations(int place, int firstColumn) const {
    const int from[2] = {firstColumn, tile_.firstRow};
    mbarrierArriveExpect(&at_.arrived[place], kPlaceBytes<kRows>);
    tmaLoad(staging(place), &tile_.maps.aux, &at_.arrived[place], from);
  }

  /// Asks for the residual of a strip: each half into a place, once what that held has left.
  __device__ __forceinline__ void readResidual(int firstColumn) const {
    if (at_.thread != 0) return;
    bulkWaitRead<0>();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int from[2] = {firstColumn + half * kHalfColumns, tile_.firstRow};
      mbarrierArriveExpect(&at_.arrived[half], kPlaceBytes<kRows>);
      tmaLoad(staging(half), &tile_.maps.residual, &at_.arrived[half], from);
    }
  }

  /// Lays down the gate and the bias of the tile's columns: the epilogue has no registers to ask for them early.
  __device__ __forceinline__ void readGateAndBias() const {
    const GemmEpilogue& e = tile_.problem.args.epilogue;
    const int n = static_cast<int>(tile_.problem.args.n), column = 2 * at_.thread;
    if (column >= kColumns) return;
    // All rows of the tile have the same gate, or the launcher would have taken the general way. Of its first: a consumer's may lie beyond C.
    const float* const gates = e.gate + static_cast<int64_t>(tile_.tileRow * kTileRows / static_cast<int>(e.rowsPerGate)) * e.gateStride;
    float gate[1][2], bias[1][2];
    readPairs(gate, gates, tile_.firstColumn + column, n);
    readPairs(bias, e.bias, tile_.firstColumn + column, n);
    *reinterpret_cast<float2*>(at_.ofColumns + column) = {gate[0][0], gate[0][1]};
    *reinterpret_cast<float2*>(at_.ofColumns + kColumns + column) = {bias[0][0], bias[0][1]};
  }

  /// Waits for what was asked for into a place, the `ordinal`th time of `each` in this tile.
  __device__ __forceinline__ void waitForArrival(int place, int ordinal, int each) const { mbarrierWait(&at_.arrived[place], (each * tile_.round + ordinal) & 1); }

  /// C = residual + gate * y, y = sums + bias, for a strip. A half's sums take the residual's place.
  template <int index>
  __device__ __forceinline__ void addToResidual(const Sums& sums, int firstColumn) const {
    const GemmEpilogue& e = tile_.problem.args.epilogue;
    const int warp = at_.thread / 32, lane = at_.thread % 32;
    // The floats of rows 2 i and 2 i + 1 have the same banks in another order, and those of half a warp, four rows, are accessed at once: so
    // odd rows take pair j + 2 where even ones take j, and the other way round.
    const bool odd = lane / 4 % 2 != 0;
    const int ownColumns = lane % 4 * 2 + (odd ? 16 : 0);
    const int fragments = ownFragments<2>(warp, lane) ^ lane % 2 << 5;
    constexpr int together = kPairs / 2;
    constexpr bool ahead = kLefts * kSums <= 128;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int jj = 0; jj < 2; jj += together) {
        float2 gate[2][together], bias[2][together];
#pragma unroll
        for (int s = 0; s < 2; ++s)
#pragma unroll
          for (int j = 0; j < together; ++j) {
            const float* const from = at_.ofColumns + kStripColumns * index + kHalfColumns * half + 8 * (jj + j) + (ownColumns ^ 16 * s);
            gate[s][j] = *reinterpret_cast<const float2*>(from);
            bias[s][j] = *reinterpret_cast<const float2*>(from + kColumns);
          }
        if (jj == 0) waitForArrival(half, index, kStrips);
        const auto at = [&](int f, int j, int r, int s) {
          return residual(half, 16 * warp + lane / 4, 64 * f + 8 * r, j + 2 * s, lane % 4);
        };
        // Many are read before the first is written, for nvcc cannot know that they are different ones: half of the strip, or four.
        float2 before[kLefts][together][4];
        const auto read = [&](int f, int j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) before[f][j - jj][i] = *at(f, j, i % 2, i / 2);
        };
        if constexpr (ahead) {
#pragma unroll
          for (int f = 0; f < kLefts; ++f)
#pragma unroll
            for (int j = jj; j < jj + together; ++j) read(f, j);
        }
#pragma unroll
        for (int f = 0; f < kLefts; ++f) {
#pragma unroll
          for (int j = jj; j < jj + together; ++j) {
            if constexpr (!ahead) read(f, j);
            uint32_t y[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int s = i / 2, r = i % 2, one = 32 * index + 16 * half + 4 * (j + 2 * s) + 2 * r, other = one ^ 8;
              const float lo = (odd ? sums[f][other] : sums[f][one]) + bias[s][j - jj].x;
              const float hi = (odd ? sums[f][other + 1] : sums[f][one + 1]) + bias[s][j - jj].y;
              y[i] = pack2<T>(lo, hi);
              const float2 x = before[f][j - jj][i];
              *at(f, j, r, s) = {x.x + gate[s][j - jj].x * lo, x.y + gate[s][j - jj].y * hi};
            }
            if (e.aux) stmatrix(fragment(fragments, f, 4 * half + j, kResidualYPlace), y);
            keepInOrder();
          }
        }
      }
      send([&] {
        const int to[2] = {firstColumn + half * kHalfColumns, tile_.firstRow};
        tmaStore(&tile_.maps.c, staging(half), to);
        if (e.aux && half == 1) {
          const int toY[2] = {firstColumn, tile_.firstRow};
          tmaStore(&tile_.maps.aux, staging(kResidualYPlace), toY);
        }
      });
    }
  }

  /// The thread's pair of floats in half a strip: of its row (and `below` more), columns 8 j + 2 t; in odd rows, of j ^ 2.
  __device__ __forceinline__ float2* residual(int half, int row, int below, int j, int t) const {
    const int own = row * 128 + ((t / 2 ^ row % 8 ^ row % 2 * 4) << 4) + t % 2 * 8;
    return reinterpret_cast<float2*>(staging(half) + below * 128 + (own ^ j << 5));
  }

  __device__ __forceinline__ static float activation(float p) {
    if constexpr (finish == Finish::silu) return silu<T>(p);
    else if constexpr (finish == Finish::geluErf) return geluErf<T>(p);
    else if constexpr (finish == Finish::quickGelu) return quickGelu<T>(p);
    else return geluTanh<T>(p);
  }
  __device__ __forceinline__ static float slope(float p) {
    if constexpr (finish == Finish::siluBackward) return siluSlope<T>(p);
    else return geluTanhSlope<T>(p);
  }

  __device__ __forceinline__ unsigned char* staging(int place) const { return at_.staging + place * kPlaceBytes<kRows>; }

  /// Where in a place ldmatrix and stmatrix find the warp's 16 rows: lane l points to row l % 16, and from lane 16 on to the 8 columns that
  /// are `apart` times 8 further.
  template <int apart = 1>
  __device__ __forceinline__ static int ownFragments(int warp, int lane) {
    return (16 * warp + lane % 16) * 128 + ((lane / 16 * apart ^ lane % 8) << 4);
  }
  /// Of 64 rows, those of columns 8 j and on and of the 8 `apart` times further; j does not have that bit.
  __device__ __forceinline__ unsigned char* fragment(int fragments, int f, int j, int place) const {
    return staging(place) + f * 64 * 128 + (fragments ^ j << 4);
  }

  /// Keeps ptxas from working on several fragments at once where 192 sums leave no registers for that.
  __device__ __forceinline__ static void keepInOrder() {
    if constexpr (kLefts * kSums > 128) __syncwarp();
  }

  /// Until all that was staged but the `newest` groups of stores has left.
  template <int newest>
  __device__ __forceinline__ void waitForStaging() const {
    if (at_.thread == 0) bulkWaitRead<newest>();
    namedBarrierSync(at_.barrier, 128);
  }
  /// Stores what the warpgroup has staged, as one group.
  template <class Stores>
  __device__ __forceinline__ void send(Stores stores) const {
    fenceProxyAsync();
    namedBarrierSync(at_.barrier, 128);
    if (at_.thread == 0) {
      stores();
      bulkCommit();
    }
  }

  /// The pairs of a row that are a thread's: columns column + 8 j and the next. n is even.
  template <int pairs>
  __device__ __forceinline__ static void readPairs(float (&to)[pairs][2], const float* from, int column, int n) {
#pragma unroll
    for (int j = 0; j < pairs; ++j) {
      float2 pair = {0.0f, 0.0f};
      if (from && (kWholeColumns || column + 8 * j < n)) pair = *reinterpret_cast<const float2*>(from + column + 8 * j);
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
      if (kWholeColumns || column + 8 * j < n) *reinterpret_cast<float2*>(to + 8 * j) = {from[j][0], from[j][1]};
  }

  /// Sums a strip's columns over the tile's rows: of the eight lanes that hold a column, by halving, until lane l has columns 2 l and the
  /// next; then of the four warps, in order.
  __device__ __forceinline__ void sumColumns(float (&v)[8][2], int firstColumn, int n) const {
    const int warp = at_.thread / 32, lane = at_.thread % 32;
#pragma unroll
    for (int kept = 4; kept >= 1; kept /= 2) {
      const bool upper = (lane & 4 * kept) != 0;
#pragma unroll
      for (int j = 0; j < kept; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float sent = upper ? v[j][i] : v[j + kept][i], own = upper ? v[j + kept][i] : v[j][i];
          v[j][i] = own + __shfl_xor_sync(kAll, sent, 4 * kept);
        }
    }
    *reinterpret_cast<float2*>(at_.ofColumns + warp * kStripColumns + 2 * lane) = {v[0][0], v[0][1]};
    namedBarrierSync(at_.barrier, 128);
    if (at_.thread < kStripColumns && (kWholeColumns || firstColumn + at_.thread < n)) {
      float sum = 0.0f;
#pragma unroll
      for (int w = 0; w < 4; ++w) sum += at_.ofColumns[w * kStripColumns + at_.thread];
      tile_.problem.columnSums[static_cast<int64_t>(tile_.tileRow) * n + firstColumn + at_.thread] = sum;
    }
    namedBarrierSync(at_.barrier, 128);
  }

  FinishPlace at_;
  FinishTile tile_;
};

}  // namespace repa::cuda
