// Weighted sums in double: the arithmetic of the samplers, whose states are float64 while the model runs in float32.
// An Euler step, Heun's average, guidance u + w (c - u) and the drift of the SDE are all one of these.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

constexpr int kMaxLinearCombinationTerms = 6;

struct LinearCombinationTerm {
  const void* values;  ///< [size], float or double
  bool isDouble;
  double coefficient;
};

/// out[i] = sum over terms of coefficient * values[i], in the order of the terms.
struct LinearCombinationArgs {
  LinearCombinationTerm terms[kMaxLinearCombinationTerms];
  int termCount;  ///< 1 ... kMaxLinearCombinationTerms
  double* out;    ///< [size]; may be the values of any double term
  int64_t size;
};

struct LinearCombinationKernels {
  void (*linearCombination)(ThreadPool& pool, const LinearCombinationArgs& args);
};

REPA_CPU_KERNELS(LinearCombinationKernels, linearCombinationKernels);

}  // namespace repa::cpu
