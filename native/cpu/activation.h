// Activation functions and their gradients, element by element.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = f(x), over `count` elements; out may be the memory of x.
struct ActivationArgs {
  int64_t count;
  const float* x;
  float* out;
};

/// dX = dOut f'(x), over `count` elements, x being what f was applied to. dX may be the memory of x or of dOut.
struct ActivationBackwardArgs {
  int64_t count;
  const float* x;
  const float* dOut;
  float* dX;
};

struct ActivationKernels {
  /// x sigmoid(x).
  void (*silu)(ThreadPool&, const ActivationArgs&);
  void (*siluBackward)(ThreadPool&, const ActivationBackwardArgs&);
  /// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): torch's GELU(approximate="tanh"), SiT's.
  void (*geluTanh)(ThreadPool&, const ActivationArgs&);
  void (*geluTanhBackward)(ThreadPool&, const ActivationBackwardArgs&);
  /// 0.5 x (1 + erf(x / sqrt(2))): torch's GELU(), DINOv2's.
  void (*geluErf)(ThreadPool&, const ActivationArgs&);
  void (*geluErfBackward)(ThreadPool&, const ActivationBackwardArgs&);
  /// x sigmoid(1.702 x): CLIP's QuickGELU.
  void (*quickGelu)(ThreadPool&, const ActivationArgs&);
  void (*quickGeluBackward)(ThreadPool&, const ActivationBackwardArgs&);
};

REPA_CPU_KERNELS(ActivationKernels, activationKernels);

}  // namespace repa::cpu
