// The kernels of branch_backward.h for rows of any width and alignment, element by element: dX and dY row by row, then the sums over
// the rows column by column.
#pragma once

#include "cuda/branch_backward_arguments.h"
#include "cuda/warp_sum.h"

namespace repa::cuda::branch_backward {

constexpr int kElementThreads = 256;

/// dX and dY, element by element. One warp a row.
template <class T, bool kNorm, bool kGate>
__global__ void __launch_bounds__(kElementThreads) rowKernel(Arguments<T> args) {
  const BranchBackward<T>& of = args.of;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * (kElementThreads / 32) + threadIdx.x / 32;
  if (row >= of.groups * of.rows) return;
  const int64_t group = row / of.rows, first = row * of.width;
  const float* factor = of.factor + group * of.factorStride;

  float mean = 0.0f, rstd = 0.0f, meanG = 0.0f, meanGXhat = 0.0f;
  if constexpr (kNorm) {
    mean = of.mean[row];
    rstd = of.rstd[row];
    for (int64_t column = lane; column < of.width; column += 32) {
      const float g = toFloat(of.dOut[first + column]) * (of.base + factor[column]);
      meanG += g;
      meanGXhat += g * ((of.x[first + column] - mean) * rstd);
    }
    meanG = of.centred ? warpSum(meanG) / static_cast<float>(of.width) : 0.0f;
    meanGXhat = warpSum(meanGXhat) / static_cast<float>(of.width);
  }
  for (int64_t column = lane; column < of.width; column += 32) {
    const int64_t at = first + column;
    float dX = of.dResidual ? of.dResidual[at] : 0.0f;
    if constexpr (kNorm) {
      const float g = toFloat(of.dOut[at]) * (of.base + factor[column]);
      dX += rstd * (g - meanG - (of.x[at] - mean) * rstd * meanGXhat);
      of.dX[at] = dX;
    }
    if constexpr (kGate) of.dY[at] = fromFloat<T>(of.gate[group * of.gateStride + column] * dX);
  }
}

/// The sums over a part's rows, behind rowKernel. A block takes 32 columns; eight threads share a column.
template <class T, bool kNorm, bool kGate>
__global__ void __launch_bounds__(kElementThreads) columnKernel(Arguments<T> args) {
  constexpr int lanes = kElementThreads / 32;
  __shared__ float joined[kSums][lanes][32];
  const BranchBackward<T>& of = args.of;
  const int64_t strips = (of.width + 31) / 32;
  const int64_t index = blockIdx.x / strips, group = index / args.parts;
  const int part = static_cast<int>(index % args.parts);
  const Rows rows = rowsOfPart(args, group, part);
  const int x = static_cast<int>(threadIdx.x % 32), lane = static_cast<int>(threadIdx.x / 32);
  const int64_t column = blockIdx.x % strips * 32 + x;

  float sums[kSums] = {};
  if (column < of.width) {
    const float* dX = kNorm ? of.dX : of.dResidual;
    for (int64_t row = rows.begin + lane; row < rows.end; row += lanes) {
      const int64_t at = row * of.width + column;
      if constexpr (kNorm) {
        const float d = toFloat(of.dOut[at]);
        sums[0] += d;
        sums[1] += d * ((of.x[at] - of.mean[row]) * of.rstd[row]);
      }
      if constexpr (kGate) {
        sums[2] += dX[at] * toFloat(of.y[at]);
        sums[3] += dX[at];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) joined[i][lane][x] = sums[i];
  __syncthreads();
  if (lane >= kSums || column >= of.width) return;
  const PartSums& to = args.sums[lane];  // a warp for each of the sums
  if (!to.at) return;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < lanes; ++i) sum += joined[lane][i][x];
  if (kGate && lane == 3) sum *= of.gate[group * of.gateStride + column];
  to.at[group * to.groupStride + part * to.partStride + column] = sum;
}

}  // namespace repa::cuda::branch_backward
