// Arithmetic that the gradient tape needs between the larger kernels, element by element.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = a + b, over `count` elements; out may be the memory of a or of b.
struct AddArgs {
  int64_t count;
  const float* a;
  const float* b;
  float* out;
};

/// out = factor x, over `count` elements; out may be the memory of x.
struct ScaleArgs {
  int64_t count;
  float factor;
  const float* x;
  float* out;
};

/// out = x held within [low, high], over `count` elements; NaN stays NaN. out may be the memory of x.
struct ClampArgs {
  int64_t count;
  float low, high;
  const float* x;
  float* out;
};

/// out = limit tanh(x / limit), over `count` elements; out may be the memory of x.
struct SoftClampArgs {
  int64_t count;
  float limit;
  const float* x;
  float* out;
};

/// sum += x, over `count` elements.
struct AccumulateArgs {
  int64_t count;
  const float* x;
  float* sum;
};

/// out = value, `count` times.
struct FillArgs {
  int64_t count;
  float value;
  float* out;
};

/// out = x, over `count` elements; the two do not overlap.
struct CopyArgs {
  int64_t count;
  const float* x;
  float* out;
};

struct ElementwiseKernels {
  void (*add)(ThreadPool&, const AddArgs&);
  void (*scale)(ThreadPool&, const ScaleArgs&);
  void (*clamp)(ThreadPool&, const ClampArgs&);
  void (*softClamp)(ThreadPool&, const SoftClampArgs&);
  void (*accumulate)(ThreadPool&, const AccumulateArgs&);
  void (*fill)(ThreadPool&, const FillArgs&);
  void (*copy)(ThreadPool&, const CopyArgs&);
};

REPA_CPU_KERNELS(ElementwiseKernels, elementwiseKernels);

}  // namespace repa::cpu
