// What an optimizer step must know about the gradient, kept where the kernels run: no number has to reach the host
// between the backward pass and the update.
#pragma once

#include <cstdint>

namespace repa {

/// Starts as all zeros; a resumed run sets `step` and `skipped`. Written by the optimizer family's sumOfSquares and
/// clipFactor, read by its adamW and, some steps late, by the host.
struct StepState {
  /// Of the gradient as the backward pass left it.
  double sumOfSquares;
  /// L2 norm of the gradient, its scale undone, before clipping.
  double gradNorm;
  /// What each gradient element is multiplied by: the undone scale times the clip coefficient.
  float clip;
  /// 1 when the whole gradient is finite. When it is 0 the step changes nothing.
  int32_t finite;
  /// Updates made, the one being made included; what the bias corrections count.
  int64_t step;
  /// Updates left out because the gradient was not finite.
  int64_t skipped;
};

}  // namespace repa
