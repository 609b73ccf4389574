// The weights of RMSNorms in a modulation (ops/norm_factors.h).
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out = modulation, but in chunks 3 n + 1, where it is weights[n] (1 + modulation).
struct NormFactorsArgs {
  int64_t batch, chunks, width;
  const float* modulation;  ///< [batch, chunks, width]
  const float* weights;     ///< [(chunks + 1) / 3, width], rounded down
  float* out;               ///< [batch, chunks, width]
};

/// With d = dModulation in chunk 3 n + 1: dWeights[n] = sum over the batch of d (1 + modulation), and d becomes weights[n] d.
struct NormFactorsBackwardArgs {
  int64_t batch, norms, chunks, width;
  float* dModulation;       ///< [batch, chunks, width], chunks being 3 norms or one less
  const float* modulation;  ///< as dModulation
  const float* weights;     ///< [norms, width]
  float* dWeights;          ///< [norms, width]
  bool accumulate;          ///< add to dWeights instead of overwriting
  float* scratch;           ///< backwardScratchFloats(args)
};

struct NormFactorsKernels {
  void (*forward)(ThreadPool&, const NormFactorsArgs&);
  void (*backward)(ThreadPool&, const NormFactorsBackwardArgs&);
  int64_t (*backwardScratchFloats)(const NormFactorsBackwardArgs&);
};

REPA_CPU_KERNELS(NormFactorsKernels, normFactorsKernels);

}  // namespace repa::cpu
