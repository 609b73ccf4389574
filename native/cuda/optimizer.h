// The CUDA kernels of ops/optimizer.h. Arguments were checked there.
#pragma once

#include <vector>

#include "core/arena_range.h"
#include "core/step_state.h"
#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// Elements of an arena, as a kernel's parameter, of which it has two in 4 KiB: ascending ranges, in it where they are few, else in an
/// array on the device.
struct ArenaRanges {
  static constexpr int kInside = 96;

  int64_t count = 0;
  const ArenaRange* array = nullptr;
  ArenaRange inside[kInside] = {};
};

/// Bytes of arenaRanges' `room` for so many: none where they are few.
constexpr int64_t arenaRangesBytes(int64_t count) { return count > ArenaRanges::kInside ? count * int64_t{sizeof(ArenaRange)} : 0; }
/// The ranges for kernels that are enqueued after this. Many are laid into `room` (8-byte aligned) by kernels that have them as parameters,
/// and not uploaded: a graph that is captured holds them.
ArenaRanges arenaRanges(cudaStream_t stream, const std::vector<ArenaRange>& ranges, const Tensor& room);

struct AdamWSettings {
  double learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
  bool late;
  /// Null: 1.
  const double* learningRateFactor;
};

/// Bytes of sumOfSquares' `scratch` (8-byte aligned) for so many elements.
int64_t sumOfSquaresScratchBytes(int64_t count);

void sumOfSquares(cudaStream_t stream, const Tensor& gradient, const ArenaRanges& frozen, double* sum, const Tensor& scratch);
void clipGradientNorm(cudaStream_t stream, const Tensor& sums, StepState* state, float maxNorm, float gradientScale, bool holdsLate);
/// `ema` and `computeWeight` may be null. `multiprocessors`: of the device.
void adamW(cudaStream_t stream, int multiprocessors, const Tensor& weight, const Tensor& gradient, const Tensor& firstMoment,
           const Tensor& secondMoment, const Tensor* ema,
           const Tensor* computeWeight, const ArenaRanges& frozen, const ArenaRanges& undecayed, const StepState* state,
           const AdamWSettings& settings);
/// `ema` and `computeWeight` may be null.
void followWeights(cudaStream_t stream, int multiprocessors, const Tensor& weight, const Tensor* ema, const Tensor* computeWeight,
                   const StepState* state, double emaDecay);

}  // namespace repa::cuda
