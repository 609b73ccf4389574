// What the kernels of branch_backward.h take.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// A sum over rows: to out [groups] rows of `width`, `stride` apart; or over the groups too, to one row. Null: not wanted.
struct RowSum {
  float* out = nullptr;
  int64_t stride = 0;
  bool acrossGroups = false;
  bool accumulate = false;
};

/// Null where the half is absent. T is the dtype of the model's activations.
template <class T>
struct BranchBackward {
  int64_t groups;
  int64_t rows;  // of a group
  int64_t width;

  const T* dOut;
  const float* x;
  const float* mean;
  const float* rstd;
  /// Whether `mean` depends on x, as LayerNorm's does; RMSNorm's is 0.
  bool centred;
  float base;
  const float* factor;
  int64_t factorStride;
  /// May be null beside a LayerNorm.
  const float* dResidual;
  /// Null without a LayerNorm.
  float* dX;

  const T* y;
  const float* gate;
  int64_t gateStride;
  T* dY;

  RowSum dOffset, dFactor, dGate, dBias;
  /// branchBackwardScratchFloats of them.
  float* scratch;
};

namespace branch_backward {

constexpr int kSums = 4;  // dOffset, dFactor, dGate, dBias

/// Into how many parts a group's rows are cut: by the sizes alone, so that results do not depend on the chip. Two blocks run on each of
/// 132 SMs at once, and the last such wave should be as full as the others, so a batch that makes 1.1 waves is cut further; but a part
/// costs a write and a read of four rows of sums, the traffic of two rows, and has no fewer than 8.
inline int64_t partsOf(int64_t groups, int64_t rows) {
  constexpr int64_t wave = 2 * 132, leastRows = 8;
  int64_t best = 1;
  double lowest = 0.0;
  for (int64_t parts = 1; parts == 1 || (parts <= wave && parts * leastRows <= rows); ++parts) {
    const int64_t blocks = groups * parts, waves = (blocks + wave - 1) / wave;
    if (blocks == 0 || rows == 0) return 1;
    const double cost = static_cast<double>(waves * wave) / static_cast<double>(blocks) *
                        (1.0 + 2.0 * static_cast<double>(parts) / static_cast<double>(rows));
    if (parts == 1 || cost < lowest) lowest = cost, best = parts;
  }
  return best;
}

/// Where the blocks write one of the sums: part p of group g at at + g groupStride + p partStride. Null: not wanted.
struct PartSums {
  float* at;
  int64_t groupStride, partStride;
};

template <class T>
struct Arguments {
  BranchBackward<T> of;
  int parts;
  PartSums sums[kSums];
};

struct Rows {
  int64_t begin, end;
};

/// The rows of a block's part, counted over all groups.
template <class T>
__device__ __forceinline__ Rows rowsOfPart(const Arguments<T>& args, int64_t group, int part) {
  const int64_t first = group * args.of.rows;
  return {first + args.of.rows * part / args.parts, first + args.of.rows * (part + 1) / args.parts};
}

}  // namespace branch_backward

}  // namespace repa::cuda
