// What both of attention's backward kernels do with 32 queries: a warp's own keys stand in the rows.
//
//   Sᵀ = K Qᵀ     Pᵀ = 2^(c Sᵀ - lse)     dV += Pᵀ dO     dPᵀ = V dOᵀ     dSᵀ = Pᵀ (dPᵀ - delta)     dK += dSᵀ Q
//
// Transposed, P and dS are left operands as they come out of the products before, and never leave their registers. Both are rounded
// to the dtype of computation for that; dS is formed of the unrounded P.
#pragma once

#include "cuda/attention_tile.cuh"
#include "cuda/ptx_thread.h"

namespace repa::cuda {

/// Queries at a time. With 32 keys and 72 columns, S and dP take 32 registers each beside the 144 of dK and dV.
constexpr int kQueries = 32;

// ---- The sums of dqkv's columns, which are the gradient of the qkv Linear's bias: a warp's rows in registers, the warps' sums in shared
// memory, and those of samples or blocks, which stand in scratch, by a pass of their own (partial_sums.h). Always in the same order.

/// Sums values over the eight lanes of the same t = lane % 4, of which each brings N: of N columns' sums three exchanges leave an eighth to
/// each lane, at N shuffles or so instead of 3 N. Calls give(i, sum) for value i, in one of the eight lanes.
template <int kDistance = 16, int N, class Give>
__device__ __forceinline__ void sumOverLanes(const float (&values)[N], int lane, int first, int count, Give&& give) {
  if constexpr (kDistance < 4) {
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (i < count) give(first + i, values[i]);
  } else {
    constexpr int kHalf = (N + 1) / 2;
    const bool upper = (lane & kDistance) != 0;
    float kept[kHalf];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float low = values[i], high = i + kHalf < N ? values[i + kHalf] : 0.0f;
      kept[i] = (upper ? high : low) + __shfl_xor_sync(kAll, upper ? low : high, kDistance);
    }
    sumOverLanes<kDistance / 2>(kept, lane, upper ? first + kHalf : first, upper ? count - kHalf : min(count, kHalf), give);
  }
}

/// Calls give(warp, column, sum) with the sum, times factor, of each of 8 kTiles columns over all rows of a warp's accumulators: in one
/// lane, always the same for a column. Rows that are not there must be zeros.
template <int kLefts, int kTiles, class Give>
__device__ __forceinline__ void sumColumns(const float (&d)[kLefts][kTiles][4], float factor, Give&& give) {
  float sums[2 * kTiles];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float sum = d[0][tile][i] + d[0][tile][2 + i];
#pragma unroll
      for (int left = 1; left < kLefts; ++left) sum += d[left][tile][i] + d[left][tile][2 + i];
      sums[2 * tile + i] = sum * factor;
    }
  const int thread = readThread(), lane = thread % 32;
  sumOverLanes(sums, lane, 0, 2 * kTiles, [&](int i, float sum) { give(thread / 32, i / 2 * 8 + lane % 4 * 2 + i % 2, sum); });
}

/// A column's sum of all warps, each of which has laid its own down `pitch` floats behind that of the one before.
template <int kWarps>
__device__ __forceinline__ float sumOfWarps(const float* sums, int pitch) {
  float sum = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) sum += sums[warp * pitch];
  return sum;
}

/// The sum of a column of one of the head's three gradients over the rows of `part`, to scratch.
template <class T>
__device__ __forceinline__ void storeColumnSum(const AttentionBackward<T>& a, const Head& at, int64_t part, QkvPart which, int column,
                                               int headDim, float sum) {
  a.columnSums[((part * 3 + which) * a.heads + at.head) * headDim + column] = sum;
}

template <class T, int kColumns, int kTiles>
struct Keys {
  float dK[kTiles][kColumns / 8][4] = {};
  float dV[kTiles][kColumns / 8][4] = {};

  /// Adds what kQueries queries give. `keys` of the warp's 16 kTiles keys are there; lse is to the base 2, infinite for what is no
  /// query. Calls give(step, dS) with the left operands of every 16 queries.
  template <class Give>
  __device__ __forceinline__ void attend(const T* k, const T* v, const T* q, const T* dO, const float* lse, const float* delta, float c,
                                         int keys, Give&& give) {
    constexpr int columns = kQueries / 8;
    const int g = laneId() / 4, t = laneId() % 4;
    float p[kTiles][columns][4] = {};
    multiplyByRows<T, kColumns>(p, k, q);
#pragma unroll
    for (int column = 0; column < columns; ++column) {
      const float2 logarithm = *reinterpret_cast<const float2*>(lse + 8 * column + 2 * t);
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r) p[i][column][r] = exp2Approx(p[i][column][r] * c - (r % 2 == 0 ? logarithm.x : logarithm.y));
    }
    if (keys < 16 * kTiles) {
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r)
          if (16 * i + g + 8 * (r / 2) >= keys)
#pragma unroll
            for (int column = 0; column < columns; ++column) p[i][column][r] = 0.0f;
    }
#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) {
      uint32_t left[kTiles][4];
#pragma unroll
      for (int i = 0; i < kTiles; ++i) roundToLeft<T>(left[i], p[i][2 * step], p[i][2 * step + 1]);
      multiplyRows<T, kColumns>(dV, left, dO + 16 * step * kPitch<kColumns>);
    }
    float dP[kTiles][columns][4] = {};
    multiplyByRows<T, kColumns>(dP, v, dO);
#pragma unroll
    for (int column = 0; column < columns; ++column) {
      const float2 mean = *reinterpret_cast<const float2*>(delta + 8 * column + 2 * t);
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r) p[i][column][r] *= dP[i][column][r] - (r % 2 == 0 ? mean.x : mean.y);
    }
#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) {
      uint32_t dS[kTiles][4];
#pragma unroll
      for (int i = 0; i < kTiles; ++i) roundToLeft<T>(dS[i], p[i][2 * step], p[i][2 * step + 1]);
      give(step, dS);
      multiplyRows<T, kColumns>(dK, dS, q + 16 * step * kPitch<kColumns>);
    }
  }

  /// The sums of dK's columns, and of dV's kColumns further, to shared memory: a warp's `pitch` floats behind those of the one before.
  __device__ __forceinline__ void layColumnSumsDown(const AttentionBackward<T>& a, float* sums, int pitch) const {
    sumColumns(dK, a.scale, [&](int warp, int column, float sum) { sums[warp * pitch + column] = sum; });
    sumColumns(dV, 1.0f, [&](int warp, int column, float sum) { sums[warp * pitch + kColumns + column] = sum; });
  }

  /// Writes dK and dV of the keys from `first` on.
  __device__ __forceinline__ void finish(const AttentionBackward<T>& a, const Head& at, int first, int headDim, bool aligned) {
    const float ofK[2] = {a.scale, a.scale}, ofV[2] = {1.0f, 1.0f};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      storeRows(dK[i], ofK, headOfQkv(a.dqkv, at, kKey, a.tokens, a.heads, headDim), first + 16 * i, a.tokens, headDim, aligned);
      storeRows(dV[i], ofV, headOfQkv(a.dqkv, at, kValue, a.tokens, a.heads, headDim), first + 16 * i, a.tokens, headDim, aligned);
    }
  }
};

/// The sum of x * y over 8 elements of each.
template <class T>
__device__ __forceinline__ float dotOfEight(const uint4& x, const uint4& y) {
  const uint32_t a[4] = {x.x, x.y, x.z, x.w}, b[4] = {y.x, y.y, y.z, y.w};
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const FloatPair p = unpack2<T>(a[i]), q = unpack2<T>(b[i]);
    sum += p.lo * q.lo + p.hi * q.hi;
  }
  return sum;
}

}  // namespace repa::cuda
