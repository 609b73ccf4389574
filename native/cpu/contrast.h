// What contrastive losses are made of: rows of unit length, cross entropy over rows of similarities, and distances between samples.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// unit = x / max(|x|, 1e-12), row by row: torch.nn.functional.normalize.
struct L2NormalizeArgs {
  int64_t rows, width;
  const float* x;  ///< [rows, width]
  float* unit;     ///< [rows, width]
  float* norms;    ///< [rows]: |x|
};

/// dX = (dUnit - unit (unit . dUnit)) / |x|; where |x| < 1e-12 the divisor was a constant, and dX = dUnit / 1e-12.
struct L2NormalizeBackwardArgs {
  int64_t rows, width;
  const float *dUnit, *unit;  ///< [rows, width]
  const float* norms;         ///< [rows]
  float* dX;                  ///< [rows, width]
};

/// loss[n] = -log softmax(logits[n] / temperature)[n]: the right column of row n is n.
struct CrossEntropyArgs {
  int64_t rows;
  const float* logits;  ///< [rows, rows]
  float scale;          ///< 1 / temperature
  float rowWeight;      ///< of one row's loss in the caller's total
  const StepState* state;  ///< its loss scale multiplies the gradient; may be null
  float* loss;          ///< [rows]
  float* dLogits;       ///< [rows, rows], overwritten: rowWeight scale (softmax - one-hot); null: loss only
};

/// distances[i, j] = |x[i] - x[j]|^2.
struct SquaredDistancesArgs {
  int64_t batch, size;
  const float* x;    ///< [batch, size]
  float* distances;  ///< [batch, batch]
};

/// loss = log mean over i, j of exp(-scale distances[i, j]). `pull` P is such that weight dLoss / dx = P x, x being what the distances are of:
/// P = 4 scale weight (E - diag(row sums of E)), E = exp(-scale distances) / their sum. A row's sum is of the others alone, and so is what is
/// subtracted: a sample's own 1 would swallow those of samples far away.
struct DispersiveLossArgs {
  int64_t batch;
  const float* distances;  ///< [batch, batch]
  float scale;
  float weight;            ///< of the loss in the caller's total
  const StepState* state;  ///< its loss scale multiplies the gradient; may be null
  float* loss;             ///< one number
  float* pull;             ///< [batch, batch]; null: loss only
  double* scratch;         ///< [batch]
};

struct ContrastKernels {
  void (*l2Normalize)(ThreadPool&, const L2NormalizeArgs&);
  void (*l2NormalizeBackward)(ThreadPool&, const L2NormalizeBackwardArgs&);
  void (*crossEntropy)(ThreadPool&, const CrossEntropyArgs&);
  void (*squaredDistances)(ThreadPool&, const SquaredDistancesArgs&);
  void (*dispersiveLoss)(ThreadPool&, const DispersiveLossArgs&);
};

REPA_CPU_KERNELS(ContrastKernels, contrastKernels);

}  // namespace repa::cpu
