// Neighbours among the rows of matrices of features: the balls of precision and recall, and who is most similar to whom.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"
#include "cpu/pair_block_sizes.h"

namespace repa::cpu {

struct NeighbourRadiiArgs {
  const float* points;  ///< [count, width], rows of x
  const float* x;       ///< [others, width]
  int64_t count, others, width;
  int64_t k;       ///< 0: the row itself; less than others
  float* out;      ///< [count], squared distance to the k-th nearest
  float* scratch;  ///< [threads][pairScratch + kPairRows * (k + 1)]
};

struct InsideBallsArgs {
  const float* points;   ///< [count, width]
  const float* centres;  ///< [balls, width]
  const float* radii;    ///< [balls], squared
  int64_t count, balls, width;
  uint8_t* out;    ///< [count], 1 where some ball holds the point, its surface included
  float* scratch;  ///< [threads][pairScratch]
};

struct MostSimilarArgs {
  const double* x;  ///< [count, width]
  int64_t count, width;
  int64_t k;        ///< at most the candidates' number
  bool includeSelf;
  int32_t* out;     ///< [count, k], the largest inner product first; of equal ones the lower row first
  double* scratch;  ///< [threads][pairScratch + kPairRows * k]
};

/// Elements of a packed block and of a block of pairs.
constexpr int64_t kPairScratch = kPairColumns * kPairDepth + kPairRows * kPairColumns;

struct NeighbourKernels {
  void (*radii)(ThreadPool& pool, const NeighbourRadiiArgs& args);
  void (*insideBalls)(ThreadPool& pool, const InsideBallsArgs& args);
  void (*mostSimilar)(ThreadPool& pool, const MostSimilarArgs& args);
};

REPA_CPU_KERNELS(NeighbourKernels, neighbourKernels);

}  // namespace repa::cpu
