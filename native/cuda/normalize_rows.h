// LayerNorm or RMSNorm forward, row by row: modulated or affine, and with a branch's output joining the stream on the way.
//
//     v = x                                 (plain)
//     v = x + gate y, which is stored       (gated: what the next branch calls x)
//     out = (v - mean) rstd (base + factor) + offset          (RMSNorm: mean is 0, and rstd of the squares as they are)
//
// One warp a row. The row is in registers while it is computed: lane l holds columns 128 i + 4 l .. + 3 of it, so that every access is 16
// bytes a lane (8 for 16-bit elements) and a warp's accesses are whole lines:
//
//     lane       0       1            31  |  0       1            31  |
//     columns  0..3    4..7  ...  124..127| 128..131    ...  252..255 | ...   kVectors times
//
// The variance is the mean of squared distances from the mean, not E[v^2] - mean^2, which cancels where the mean is large; with the row in
// registers the second pass costs no traffic.
//
// A block makes up to 8 rows a warp, all of one group: gate, factor and offset, which are f32 and together larger than a row,
// come from global memory once a block, into shared memory. Read for every row through L1 they were what bound the kernel.
//
// Memory plan. While a row is computed the warp's next is on its way into shared memory (cp.async). A lane copies what it will read itself,
// so the warps wait for nobody but at the beginning, when what they share has arrived:
//
//     modulation  factor | offset | gate (gated only)            128 kVectors floats each
//     rows        [warp, 2 stages] of  x (16 bytes a lane) | y (4 elements a lane, gated only)      kVectors times
//
// In 16 bits at the width 1152: 46 KB (plain) and 69 KB (gated), so that 4 and 3 blocks share an SM and 74 and 83 KB of rows are under way,
// where 23 KB hide the latency of 4.3 TB/s. Wider rows have fewer warps in a block: no more than 99 KB is asked for, what every chip since
// sm_80 has.
//
// Rows that are wider than 2048, not a multiple of 4 wide or not aligned take a loop over single elements instead.
#pragma once

#include <algorithm>

#include "cuda/blocks.h"
#include "cuda/launch.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

template <class T>
struct NormalizeRows {
  /// A multiple of groupRows.
  int64_t rows;
  int width;
  /// Rows that share a gate, a factor and an offset; group g's at gate + g gateStride and so on.
  int64_t groupRows;
  float epsilon;
  /// LayerNorm's; RMSNorm takes no mean off.
  bool centred;
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

constexpr int kMostWarps = 4;
constexpr int kThreads = 32 * kMostWarps;
constexpr int kColumnsOfWarp = 128;
constexpr int kStages = 2;
constexpr int kMostRowsOfWarp = 8;
constexpr int64_t kMostSharedBytes = 99 * 1024;

/// Where things stand in a block's shared memory; every part a multiple of 512 bytes.
template <class T, int kVectors, bool kGated>
struct SharedPlan {
  static constexpr int kModulationFloats = kVectors * kColumnsOfWarp;
  static constexpr int kModulationBytes = (kGated ? 3 : 2) * kModulationFloats * 4;
  static constexpr int kXBytes = kVectors * kColumnsOfWarp * 4;
  static constexpr int kRowBytes = kXBytes + (kGated ? kVectors * kColumnsOfWarp * static_cast<int>(sizeof(T)) : 0);

  __host__ __device__ static constexpr int64_t bytes(int warps) { return kModulationBytes + int64_t{warps} * kStages * kRowBytes; }
};

/// A block's rows: up to `rowsOfBlock` of one group, `blocksOfGroup` blocks to a group.
template <class T, int kVectors, bool kGated>
__global__ void __launch_bounds__(kThreads, 2) vectorKernel(NormalizeRows<T> args, int64_t blocksOfGroup, int rowsOfBlock) {
  REPA_DYNAMIC_SHARED(shared);
  using Plan = SharedPlan<T, kVectors, kGated>;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  const int width = args.width;
  const int64_t group = blockIdx.x / blocksOfGroup;
  const int64_t begin = group * args.groupRows + (blockIdx.x - group * blocksOfGroup) * rowsOfBlock;
  const int64_t end = min(begin + rowsOfBlock, (group + 1) * args.groupRows);

  float* const factor = reinterpret_cast<float*>(shared);
  float* const offset = factor + Plan::kModulationFloats;
  float* const gate = offset + Plan::kModulationFloats;
  unsigned char* const rows = shared + Plan::kModulationBytes + warp * kStages * Plan::kRowBytes;
  const auto xOf = [&](int stage) { return reinterpret_cast<float*>(rows + stage * Plan::kRowBytes); };
  const auto yOf = [&](int stage) { return reinterpret_cast<T*>(rows + stage * Plan::kRowBytes + Plan::kXBytes); };
  const auto copyRow = [&](int64_t row, int stage) {
    if (row < end) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int column = kColumnsOfWarp * i + 4 * lane;
        if (column < width) cpAsync<16>(xOf(stage) + column, args.x + row * width + column);
      }
      if constexpr (kGated) {
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          const int column = kColumnsOfWarp * i + 4 * lane;
          if (column < width) cpAsync<4 * sizeof(T)>(yOf(stage) + column, args.y + row * width + column);
        }
      }
    }
    cpAsyncCommit();
  };

  for (int column = 4 * static_cast<int>(threadIdx.x); column < width; column += 4 * static_cast<int>(blockDim.x)) {
    cpAsync<16>(factor + column, args.factor + group * args.factorStride + column);
    cpAsync<16>(offset + column, args.offset + group * args.factorStride + column);
    if constexpr (kGated) cpAsync<16>(gate + column, args.gate + group * args.gateStride + column);
  }
  copyRow(begin + warp, 0);
  cpAsyncWait<0>();
  __syncthreads();

  int stage = 0;
  for (int64_t row = begin + warp; row < end; row += warps, stage ^= 1) {
    copyRow(row + warps, stage ^ 1);  // into what the last row was read from
    cpAsyncWait<1>();

    float v[kVectors][4] = {};
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = kColumnsOfWarp * i + 4 * lane;
      if (column < width) {
        load(v[i], xOf(stage) + column);
        if constexpr (kGated) {
          float branch[4], gates[4];
          load(branch, yOf(stage) + column);
          load(gates, gate + column);
#pragma unroll
          for (int j = 0; j < 4; ++j) v[i][j] += gates[j] * branch[j];
          store(args.stream + row * width + column, v[i]);
        }
      }
    }

    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) sum += (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
    const float mean = args.centred ? warpSum(sum) / static_cast<float>(width) : 0.0f;

    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (kColumnsOfWarp * i + 4 * lane < width) {
#pragma unroll
        for (int j = 0; j < 4; ++j) squares += (v[i][j] - mean) * (v[i][j] - mean);
      }
    }
    const float rstd = 1.0f / sqrtf(warpSum(squares) / static_cast<float>(width) + args.epsilon);

#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int column = kColumnsOfWarp * i + 4 * lane;
      if (column < width) {
        float factors[4], offsets[4];
        load(factors, factor + column);
        load(offsets, offset + column);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[i][j] = (v[i][j] - mean) * rstd * (args.base + factors[j]) + offsets[j];
        store(args.out + row * width + column, v[i]);
      }
    }
    if (lane == 0) {
      args.mean[row] = mean;
      args.rstd[row] = rstd;
    }
  }
}

/// One warp a row.
template <class T, bool kGated>
__global__ void __launch_bounds__(kThreads) elementKernel(NormalizeRows<T> args) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * kMostWarps + threadIdx.x / 32;
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
  const float mean = args.centred ? warpSum(sum) / static_cast<float>(width) : 0.0f;

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

template <class T, int kVectors, bool kGated>
void launchVectors(cudaStream_t stream, const NormalizeRows<T>& args) {
  using Plan = SharedPlan<T, kVectors, kGated>;
  constexpr int warps = Plan::bytes(kMostWarps) <= kMostSharedBytes ? kMostWarps : kMostWarps / 2;
  static_assert(Plan::bytes(warps) <= kMostSharedBytes);
  // Fewer rows a warp where so many would leave parts of a large chip without a block: four on each of 132 SMs.
  const int64_t rowsOfWarp = std::clamp<int64_t>(args.rows / (4 * 132 * warps), 1, kMostRowsOfWarp);
  const int64_t rowsOfBlock = rowsOfWarp * warps;
  const int64_t blocksOfGroup = (args.groupRows + rowsOfBlock - 1) / rowsOfBlock;
  launch(stream, vectorKernel<T, kVectors, kGated>,
         {.grid = dim3(blocksFor(args.rows / args.groupRows * blocksOfGroup, 1)),
          .block = dim3(32 * warps),
          .sharedBytes = static_cast<size_t>(Plan::bytes(warps))},
         args, blocksOfGroup, static_cast<int>(rowsOfBlock));
}

}  // namespace normalize_rows

template <bool kGated, class T>
void normalizeRows(cudaStream_t stream, const NormalizeRows<T>& args) {
  using namespace normalize_rows;
  if (args.rows == 0 || args.width == 0) return;
  const bool vectors = args.width % 4 == 0 && args.factorStride % 4 == 0 && args.gateStride % 4 == 0 &&
                       aligned16(args.x, args.y, args.gate, args.stream, args.factor, args.offset, args.out);
  const int needed = (args.width + kColumnsOfWarp - 1) / kColumnsOfWarp;
  // The widths of SiT-S to XL, their doubles, and steps between that waste no more than a third of the lanes.
  if (!vectors || needed > 16)
    launch(stream, elementKernel<T, kGated>, {.grid = dim3(blocksFor(args.rows, kMostWarps)), .block = dim3(kThreads)}, args);
  else if (needed <= 1) launchVectors<T, 1, kGated>(stream, args);
  else if (needed <= 2) launchVectors<T, 2, kGated>(stream, args);
  else if (needed <= 3) launchVectors<T, 3, kGated>(stream, args);
  else if (needed <= 4) launchVectors<T, 4, kGated>(stream, args);
  else if (needed <= 6) launchVectors<T, 6, kGated>(stream, args);
  else if (needed <= 8) launchVectors<T, 8, kGated>(stream, args);
  else if (needed <= 9) launchVectors<T, 9, kGated>(stream, args);
  else if (needed <= 12) launchVectors<T, 12, kGated>(stream, args);
  else launchVectors<T, 16, kGated>(stream, args);
}

}  // namespace repa::cuda
