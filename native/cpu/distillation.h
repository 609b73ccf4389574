// Self-distillation of soft labels (DINO, arXiv 2104.14294): the cross entropy of a student's distributions with a teacher's of
// other views of the same image, and how flat the teacher's are.
#pragma once

#include <cstdint>

#include "core/step_state.h"
#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// entropy = -Σ p log p along every row, natural; 0 log 0 is 0, and NaN is NaN.
struct EntropyArgs {
  int64_t rows, columns;
  const float* p;  ///< [rows, columns]
  float* entropy;  ///< [rows]
};

/// What the student says of view v of an image is compared with what the teacher says of every view but the same one. With
/// q = Σ targets[g, b] over the g ≠ firstView + v and z = scale student[v, b]:
///     loss[v, b]     = -Σ_k q_k log softmax(z)_k
///     dStudent[v, b] = rowWeight scale (softmax(z) Σ_k q_k - q)
struct DistillationLossArgs {
  int64_t views, teacherViews, batch, columns;
  int64_t firstView;     ///< which of the image's views student[0] is of; the teacher's are the first ones
  const float* student;  ///< [views, batch, columns]
  const float* targets;  ///< [teacherViews, batch, columns]
  float scale;           ///< 1 / temperature
  float rowWeight;       ///< of one row's loss in the caller's total
  const StepState* state;  ///< its loss scale multiplies the gradient; may be null
  float* loss;             ///< [views, batch]
  float* dStudent;         ///< [views, batch, columns], overwritten; null: loss only
};

struct DistillationKernels {
  void (*entropy)(ThreadPool&, const EntropyArgs&);
  void (*distillationLoss)(ThreadPool&, const DistillationLossArgs&);
};

REPA_CPU_KERNELS(DistillationKernels, distillationKernels);

}  // namespace repa::cpu
