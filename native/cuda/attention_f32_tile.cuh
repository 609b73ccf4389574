// The tiles of which attention's f32 kernels are made, on FMAs.
//
// Everything is two products of a block of 128 threads, seen as 16 x 8: thread (y, x) holds rows kRows y .. of a tile and, of its
// columns, those that suit the product.
//
//   dotRows      s[row, key] += sum over c of a[row, c] b[key, c]      keys x, x + 8, x + 16, x + 24
//   sumRows      d[row, c]   += sum over k of p[row, k] b[k, c]        columns 4 x + 32 j .. 4 x + 32 j + 3
//
// Operands lie in shared memory in rows of kColumns + 4 floats (32 + 4 for p): eight threads of neighbouring x read 16 bytes of eight
// rows each in different banks, the rows of y are one broadcast. Columns past headDim are zeros.
#pragma once

#include "cuda/attention_arguments.h"
#include "cuda/attention_heads.cuh"

namespace repa::cuda {

constexpr int kThreads = 128;
constexpr int kKeys = 32;  // keys, or in the backward pass over keys, queries, that pass by at a time

template <int kColumns>
inline constexpr int kRowPitch = kColumns + 4;
constexpr int kScorePitch = kKeys + 4;

__device__ __forceinline__ int threadX() { return static_cast<int>(threadIdx.x % 8); }
__device__ __forceinline__ int threadY() { return static_cast<int>(threadIdx.x / 8); }

/// Rows [first, first + count) of a head, times `factor`, to a tile; zeros past the tokens and past headDim.
template <int kColumns>
__device__ __forceinline__ void loadFloatRows(float* tile, HeadRows<const float> head, int first, int count, int tokens, int headDim,
                                              float factor = 1.0f) {
  for (int i = threadIdx.x; i < count * kColumns; i += kThreads) {
    const int row = i / kColumns, column = i % kColumns;
    tile[row * kRowPitch<kColumns> + column] = first + row < tokens && column < headDim ? head.row(first + row)[column] * factor : 0.0f;
  }
}

__device__ __forceinline__ float4 loadFour(const float* from) { return *reinterpret_cast<const float4*>(from); }

/// In the order of the columns, so that where softmax has picked one key the sum of dO * v here and of dO * o in rowDelta agree.
template <int kColumns, int kRows>
__device__ __forceinline__ void dotRows(float (&s)[kRows][4], const float* a, const float* b, int headDim) {
  const float* rows = a + kRows * threadY() * kRowPitch<kColumns>;
  const float* keys = b + threadX() * kRowPitch<kColumns>;
#pragma unroll 1
  for (int c = 0; c < headDim; c += 4) {
    float4 key[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) key[j] = loadFour(keys + 8 * j * kRowPitch<kColumns> + c);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 row = loadFour(rows + i * kRowPitch<kColumns> + c);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = __fmaf_rn(row.x, key[j].x, s[i][j]);
        s[i][j] = __fmaf_rn(row.y, key[j].y, s[i][j]);
        s[i][j] = __fmaf_rn(row.z, key[j].z, s[i][j]);
        s[i][j] = __fmaf_rn(row.w, key[j].w, s[i][j]);
      }
    }
  }
}

template <int kColumns, int kRows>
__device__ __forceinline__ void sumRows(float (&d)[kRows][kColumns / 32][4], const float* p, const float* b) {
  const float* rows = p + kRows * threadY() * kScorePitch;
  const float* columns = b + 4 * threadX();
#pragma unroll 1
  for (int k = 0; k < kKeys; k += 4) {
    float weights[kRows][4];  // no float4: which of its members a column takes is settled late, and costs the compiler 20 s
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 row = loadFour(rows + i * kScorePitch + k);
      weights[i][0] = row.x, weights[i][1] = row.y, weights[i][2] = row.z, weights[i][3] = row.w;
    }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        const float4 value = loadFour(columns + (k + n) * kRowPitch<kColumns> + 32 * j);
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          d[i][j][0] = __fmaf_rn(weights[i][n], value.x, d[i][j][0]);
          d[i][j][1] = __fmaf_rn(weights[i][n], value.y, d[i][j][1]);
          d[i][j][2] = __fmaf_rn(weights[i][n], value.z, d[i][j][2]);
          d[i][j][3] = __fmaf_rn(weights[i][n], value.w, d[i][j][3]);
        }
      }
  }
}

template <int kRows>
__device__ __forceinline__ void keepScores(float* p, const float (&s)[kRows][4]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) p[(kRows * threadY() + i) * kScorePitch + threadX() + 8 * j] = s[i][j];
}

/// factor[i] times the thread's rows of a result.
template <int kColumns, int kRows>
__device__ __forceinline__ void storeFloatRows(const float (&d)[kRows][kColumns / 32][4], const float (&factor)[kRows],
                                               HeadRows<float> head, int first, int tokens, int headDim) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = first + kRows * threadY() + i;
    if (row >= tokens) continue;
    float* to = head.row(row);
#pragma unroll
    for (int j = 0; j < kColumns / 32; ++j)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int column = 4 * threadX() + 32 * j + n;
        if (column < headDim) to[column] = d[i][j][n] * factor[i];
      }
  }
}

/// Over the eight threads that share rows.
__device__ __forceinline__ float sumOfRow(float x) {
  for (int distance = 1; distance < 8; distance *= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

/// Calls run<kColumns>() for the least kColumns that hold headDim.
template <class Run>
void withColumns(int headDim, Run&& run) {
  if (headDim <= 32) run.template operator()<32>();
  else if (headDim <= 64) run.template operator()<64>();
  else if (headDim <= 96) run.template operator()<96>();
  else run.template operator()<128>();
}

inline unsigned gridOf(int64_t batch, int heads, int tokens, int rows) {
  return static_cast<unsigned>(batch * heads * ((tokens + rows - 1) / rows));
}

}  // namespace repa::cuda
