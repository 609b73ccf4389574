// LayerNorm forward, row by row: modulated or affine, and with a branch's output joining the stream on the way.
//
//     v = x                                 (plain)
//     v = x + gate y, which is stored       (gated: what the next branch calls x)
//     out = (v - mean) rstd (base + factor) + offset
//
// One warp a row. The row stays in registers: lane l holds columns 128 i + 4 l .. + 3 of it, so that every access is 16 bytes a lane
// (8 for 16-bit elements) and a warp's accesses are whole lines:
//
//     lane       0       1            31  |  0       1            31  |
//     columns  0..3    4..7  ...  124..127| 128..131    ...  252..255 | ...   kVectors times
//
// All loads of a row are under way before the first sum waits for one. The variance is the mean of squared distances from the mean, not
// E[v^2] - mean^2, which cancels where the mean is large; with the row in registers the second pass costs no traffic. factor and offset
// are a sample's, read once for each of its rows: they come from the caches.
//
// No shared memory. At the width 1152 on sm_90: 64 registers (plain) and 80 (gated), so 32 and 24 warps an SM, each with a row of 4.6 KB
// or more under way, where 23 KB an SM hide the latency of 4.3 TB/s.
//
// Rows that are wider than 2048, not a multiple of 4 wide or not aligned take a loop over single elements instead.
#pragma once

#include "cuda/launch.h"
#include "cuda/read_only.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

template <class T>
struct NormalizeRows {
  int64_t rows;
  int width;
  /// Rows that share a gate, a factor and an offset; group g's at gate + g gateStride and so on.
  int64_t groupRows;
  float epsilon;
  const float* x;
  /// Gated only.
  const T* y;
  const float* gate;
  int64_t gateStride;
  float* stream;
  float base;
  const float* factor;
  const float* offset;
  int64_t factorStride;
  T* out;
  float* mean;
  float* rstd;
};

namespace normalize_rows {

constexpr int kRowsOfBlock = 4;
constexpr int kThreads = 32 * kRowsOfBlock;
constexpr int kColumnsOfWarp = 128;

template <class T, int kVectors, bool kGated>
__global__ void __launch_bounds__(kThreads, kVectors <= 9 ? 4 : 2) vectorKernel(NormalizeRows<T> args) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / 32;
  if (row >= args.rows) return;
  const int64_t group = row / args.groupRows;
  const int width = args.width;

  float v[kVectors][4];
  const float* x = args.x + row * width;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = kColumnsOfWarp * i + 4 * lane;
    if (column < width) {
      loadReadOnly(v[i], x + column);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i][j] = 0.0f;
    }
  }
  if constexpr (kGated) {
    const T* y = args.y + row * width;
    const float* gate = args.gate + group * args.gateStride;
    float* stream = args.stream + row * width;
    Four<T> branch[kVectors] = {};
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = kColumnsOfWarp * i + 4 * lane;
      if (column < width) branch[i] = fourReadOnly(y + column);
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = kColumnsOfWarp * i + 4 * lane;
      if (column < width) {
        float branches[4], gates[4];
        unpack(branches, branch[i]);
        loadReadOnly(gates, gate + column);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[i][j] += gates[j] * branches[j];
        store(stream + column, v[i]);
      }
    }
  }

  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) sum += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
  const float mean = warpSum(sum) / static_cast<float>(width);

  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (kColumnsOfWarp * i + 4 * lane < width) {
#pragma unroll
      for (int j = 0; j < 4; ++j) squares += (v[i][j] - mean) * (v[i][j] - mean);
    }
  }
  const float rstd = 1.0f / sqrtf(warpSum(squares) / static_cast<float>(width) + args.epsilon);

  const float* factor = args.factor + group * args.factorStride;
  const float* offset = args.offset + group * args.factorStride;
  T* out = args.out + row * width;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = kColumnsOfWarp * i + 4 * lane;
    if (column < width) {
      float factors[4], offsets[4];
      loadReadOnly(factors, factor + column);
      loadReadOnly(offsets, offset + column);
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i][j] = (v[i][j] - mean) * rstd * (args.base + factors[j]) + offsets[j];
      store(out + column, v[i]);
    }
  }
  if (lane == 0) {
    args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

template <class T, bool kGated>
__global__ void __launch_bounds__(kThreads) elementKernel(NormalizeRows<T> args) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / 32;
  if (row >= args.rows) return;
  const int64_t group = row / args.groupRows;
  const int width = args.width;

  const float* v = args.x + row * width;
  float sum = 0.0f;
  if constexpr (kGated) {
    const T* y = args.y + row * width;
    const float* gate = args.gate + group * args.gateStride;
    float* stream = args.stream + row * width;
    for (int column = lane; column < width; column += 32) {
      const float value = v[column] + gate[column] * toFloat(y[column]);
      stream[column] = value;
      sum += value;
    }
    v = stream;  // a lane reads what it wrote itself
  } else {
    for (int column = lane; column < width; column += 32) sum += v[column];
  }
  const float mean = warpSum(sum) / static_cast<float>(width);

  float squares = 0.0f;
  for (int column = lane; column < width; column += 32) squares += (v[column] - mean) * (v[column] - mean);
  const float rstd = 1.0f / sqrtf(warpSum(squares) / static_cast<float>(width) + args.epsilon);

  const float* factor = args.factor + group * args.factorStride;
  const float* offset = args.offset + group * args.factorStride;
  T* out = args.out + row * width;
  for (int column = lane; column < width; column += 32)
    out[column] = fromFloat<T>((v[column] - mean) * rstd * (args.base + factor[column]) + offset[column]);
  if (lane == 0) {
    args.mean[row] = mean;
    args.rstd[row] = rstd;
  }
}

}  // namespace normalize_rows

template <bool kGated, class T>
void normalizeRows(cudaStream_t stream, const NormalizeRows<T>& args) {
  using namespace normalize_rows;
  if (args.rows == 0 || args.width == 0) return;
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>((args.rows + kRowsOfBlock - 1) / kRowsOfBlock)), .block = dim3(kThreads)};
  const bool vectors = args.width % 4 == 0 && args.factorStride % 4 == 0 && args.gateStride % 4 == 0 &&
                       aligned16(args.x, args.y, args.gate, args.stream, args.factor, args.offset, args.out);
  const int needed = (args.width + kColumnsOfWarp - 1) / kColumnsOfWarp;
  // The widths of SiT-S to XL, their doubles, and steps between that waste no more than a third of the lanes.
  if (!vectors || needed > 16) launch(stream, elementKernel<T, kGated>, shape, args);
  else if (needed <= 1) launch(stream, vectorKernel<T, 1, kGated>, shape, args);
  else if (needed <= 2) launch(stream, vectorKernel<T, 2, kGated>, shape, args);
  else if (needed <= 3) launch(stream, vectorKernel<T, 3, kGated>, shape, args);
  else if (needed <= 4) launch(stream, vectorKernel<T, 4, kGated>, shape, args);
  else if (needed <= 6) launch(stream, vectorKernel<T, 6, kGated>, shape, args);
  else if (needed <= 8) launch(stream, vectorKernel<T, 8, kGated>, shape, args);
  else if (needed <= 9) launch(stream, vectorKernel<T, 9, kGated>, shape, args);
  else if (needed <= 12) launch(stream, vectorKernel<T, 12, kGated>, shape, args);
  else launch(stream, vectorKernel<T, 16, kGated>, shape, args);
}

}  // namespace repa::cuda
