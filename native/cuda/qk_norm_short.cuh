// Norms of queries and keys of at most 128 elements, of which a lane has one access of four: the same bits as the kernels of qk_norm.cu, whose
// mathematics this is, at a fraction of their instructions. A row is read once and held, several rows are under way at once, and their sums
// cross the warp together (warp_sum.h).
#pragma once

#include "cuda/kernel.h"
#include "cuda/read_only.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kMostWarps = 8;
/// Heads that a warp takes at once where rows are short.
constexpr int kHeads = 4;

/// Whether a lane has the whole of its row's columns in one access of `width` elements.
constexpr bool isShort(int d, int width) { return width == 4 && d <= 4 * kWarp; }

struct ForwardParameters {
  const float* qWeight;
  const float* qBias;  // null: none
  const float* kWeight;
  const float* kBias;
};

/// The block's part of partials, of its warps' sums [warp, 4, d].
__device__ __forceinline__ void addWarpSums(const float* sums, int warps, int d, float* partials) {
  for (int c = threadIdx.x; c < 4 * d; c += blockDim.x) {
    float total = 0.0f;
    for (int i = 0; i < warps; ++i) total += sums[i * 4 * d + c];
    partials[int64_t{blockIdx.x} * 4 * d + c] = total;
  }
}

template <class T>
__device__ __forceinline__ void storeFour(T* to, const Four<T>& four) {
  if constexpr (sizeof(T) == 4) {
    float values[4];
    unpack(values, four);
    store(to, values);
  } else {
    const uint32_t words[2] = {four.bits.x, four.bits.y};
    storeGlobal(to, words);
  }
}

/// As qkNormKernel, with its bits. A block takes a token, a warp four heads of it at a time: twelve rows, all read before the first is used.
/// What follows of a row's sum is computed once for four rows.
template <class T>
__global__ void __launch_bounds__(32 * kMostWarps, sizeof(T) == 4 ? 3 : 4)
    qkNormShortKernel(const T* qkv, ForwardParameters parameters, T* normed, float* mean, float* rstd, int heads, int d, bool centred,
                      float epsilon) {
  const int lane = static_cast<int>(threadIdx.x % 32), column = 4 * lane;
  const bool inside = column < d;
  const int64_t token = blockIdx.x;
  const float elements = static_cast<float>(d);
  for (int first = static_cast<int>(threadIdx.x / 32) * kHeads; first < heads; first += static_cast<int>(blockDim.x / 32) * kHeads) {
    const int there = min(heads - first, kHeads), own = inside ? there : 0;
    const int64_t begin = (token * 3 * heads + first) * d + column, partElements = int64_t{heads} * d;
    Four<T> x[3][kHeads] = {};
#pragma unroll
    for (int part = 0; part < 3; ++part)
#pragma unroll
      for (int r = 0; r < kHeads; ++r)
        if (r < own) x[part][r] = fourReadOnly(qkv + begin + part * partElements + r * d);
#pragma unroll
    for (int r = 0; r < kHeads; ++r)
      if (r < own) storeFour(normed + begin + 2 * partElements + r * d, x[2][r]);

#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float* const weight = part == 0 ? parameters.qWeight : parameters.kWeight;
      const float* const bias = part == 0 ? parameters.qBias : parameters.kBias;
      float scales[4] = {}, shifts[4] = {};
      if (inside) loadReadOnly(scales, weight + column);
      if (inside && bias) loadReadOnly(shifts, bias + column);

      // Lane 8 r has what row r's sum makes.
      float values[kHeads][4], sums[kHeads] = {}, squares[kHeads] = {};
#pragma unroll
      for (int r = 0; r < kHeads; ++r) {
        unpack(values[r], x[part][r]);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[r] += values[r][i];
      }
      const float centre = centred ? warpSums(sums, lane) / elements : 0.0f;
#pragma unroll
      for (int r = 0; r < kHeads; ++r) {
        const float ofRow = __shfl_sync(kAll, centre, 8 * r);
#pragma unroll
        for (int i = 0; i < 4; ++i) values[r][i] -= ofRow;
        if (inside) {
#pragma unroll
          for (int i = 0; i < 4; ++i) squares[r] += values[r][i] * values[r][i];
        }
      }
      const float factor = 1.0f / sqrtf(warpSums(squares, lane) / elements + epsilon);
#pragma unroll
      for (int r = 0; r < kHeads; ++r) {
        const float ofRow = __shfl_sync(kAll, factor, 8 * r);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          values[r][i] = values[r][i] * ofRow * scales[i];
          if (bias) values[r][i] = __fadd_rn(values[r][i], shifts[i]);
        }
        if (r < own) store(normed + begin + part * partElements + r * d, values[r]);
      }
      if (lane % 8 == 0 && lane / 8 < there) {
        const int64_t statistic = (token * 2 + part) * heads + first + lane / 8;
        mean[statistic] = centre;
        rstd[statistic] = factor;
      }
    }
  }
}

/// As qkNormBackwardKernel, with its bits: the same warps have the same rows in the same order. A lane keeps its columns' sums in registers;
/// rows of 16-bit elements are taken two at a time.
template <class T>
__global__ void __launch_bounds__(32 * kMostWarps, 4)
    qkNormBackwardShortKernel(const T* dNormed, const T* qkv, const float* qWeight, const float* kWeight, const float* mean,
                              const float* rstd, T* dqkv, float* partials, int64_t rows, int64_t rowsOfBlock, int heads, int d,
                              bool centred) {
  REPA_DYNAMIC_SHARED(shared);
  const int warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int column = 4 * lane;
  const bool inside = column < d;
  float qScales[4] = {}, kScales[4] = {};
  if (inside) {
    loadReadOnly(qScales, qWeight + column);
    loadReadOnly(kScales, kWeight + column);
  }
  float qWeightSums[4] = {}, qBiasSums[4] = {}, kWeightSums[4] = {}, kBiasSums[4] = {};

  constexpr int kRowsAtOnce = sizeof(T) == 4 ? 1 : 2;
  const int64_t first = blockIdx.x * rowsOfBlock, left = rows - first;
  const int count = static_cast<int>(left < rowsOfBlock ? left : rowsOfBlock);
  // Statistics are counted as rows are, but that values have none: a token has H fewer of them.
  const int rowsOfToken = 3 * heads;
  mean += first - first / rowsOfToken * heads;
  rstd += first - first / rowsOfToken * heads;
  int inToken = static_cast<int>(first % rowsOfToken), fewer = 0;
  const auto pass = [&](int more) {
    inToken += more;
    while (inToken >= rowsOfToken) {
      inToken -= rowsOfToken;
      fewer += heads;
    }
  };
  pass(warp);
  int64_t at = (first + warp) * d + column;
  for (int row = warp; row < count; row += kRowsAtOnce * warps, at += kRowsAtOnce * int64_t{warps} * d) {
    int parts[kRowsAtOnce];
    Four<T> x[kRowsAtOnce] = {}, dy[kRowsAtOnce] = {};
    float centre[kRowsAtOnce] = {}, factor[kRowsAtOnce] = {};
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const int own = row + r * warps;
      parts[r] = own >= count ? 3 : inToken >= 2 * heads ? 2 : inToken >= heads ? 1 : 0;
      if (parts[r] < 3 && inside) dy[r] = fourReadOnly(dNormed + at + r * int64_t{warps} * d);
      if (parts[r] < 2) {
        if (inside) x[r] = fourReadOnly(qkv + at + r * int64_t{warps} * d);
        centre[r] = __ldg(mean + (own - fewer));
        factor[r] = __ldg(rstd + (own - fewer));
      }
      pass(warps);
    }

    float n[kRowsAtOnce][4], sums[2 * kRowsAtOnce] = {};
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      if (parts[r] >= 2 || !inside) continue;
      float values[4], gradients[4];
      unpack(values, x[r]);
      unpack(gradients, dy[r]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        n[r][i] = (values[i] - centre[r]) * factor[r];
        const float dn = __fmul_rn(gradients[i], parts[r] == 0 ? qScales[i] : kScales[i]);  // rounded, as the other kernel has it
        sums[2 * r] += dn;
        sums[2 * r + 1] += dn * n[r][i];
      }
      if (parts[r] == 0) {
#pragma unroll
        for (int i = 0; i < 4; ++i) qWeightSums[i] += gradients[i] * n[r][i], qBiasSums[i] += gradients[i];
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) kWeightSums[i] += gradients[i] * n[r][i], kBiasSums[i] += gradients[i];
      }
    }
    // The lanes from `kLanes` 2 r on have the mean of dn over row r, those from kLanes (2 r + 1) on that of dn n.
    constexpr int kLanes = 32 / (2 * kRowsAtOnce);
    float means = warpSums(sums, lane) / static_cast<float>(d);
    if (!centred && lane / kLanes % 2 == 0) means = 0.0f;
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      const float meanDn = __shfl_sync(kAll, means, kLanes * 2 * r), meanDnN = __shfl_sync(kAll, means, kLanes * (2 * r + 1));
      T* const to = dqkv + at + r * int64_t{warps} * d;
      if (parts[r] == 3 || !inside) continue;
      if (parts[r] == 2) {
        storeFour(to, dy[r]);
        continue;
      }
      float gradients[4], dx[4];
      unpack(gradients, dy[r]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float scale = parts[r] == 0 ? qScales[i] : kScales[i];
        dx[i] = factor[r] * (gradients[i] * scale - meanDn - n[r][i] * meanDnN);
      }
      store(to, dx);
    }
  }

  // [warp, 4, d] as the other kernel has them.
  float* const sums = reinterpret_cast<float*>(shared);
  if (inside) {
    float* const own = sums + warp * 4 * d + column;
    storeStruct(own, qWeightSums);
    storeStruct(own + d, qBiasSums);
    storeStruct(own + 2 * d, kWeightSums);
    storeStruct(own + 3 * d, kBiasSums);
  }
  __syncthreads();
  addWarpSums(sums, warps, d, partials);
}

}  // namespace

}  // namespace repa::cuda
