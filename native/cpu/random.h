// Random numbers from Philox-4x32-10 (core/philox.h): a number depends on (seed, stream, step, element) alone, never on
// the number of threads, the CPU level, the machine or how a batch is split between processes.
#pragma once

#include <cstdint>

#include "core/philox.h"
#include "core/thread_pool.h"
#include "cpu/interpolant.h"
#include "cpu/level.h"

namespace repa::cpu {

struct RandomFillArgs {
  float* out;  ///< [count]
  int64_t count;
  RandomPosition position;  ///< seed, stream, step
  int64_t firstElement;     ///< element of out[0]: this process's first sample of the global batch * numbers a sample
};

/// How training draws its times (REPA --weighting).
enum class TimeWeighting {
  uniform,    ///< t = u, u ~ U[0, 1)
  lognormal,  ///< s = e^n, n ~ N(0, 1); t = s / (1 + s) on the linear path, (2 / pi) atan(s) on the cosine path
};

struct TimestepsArgs {
  float* t;  ///< [batch]
  int64_t batch;
  TimeWeighting weighting;
  InterpolantPath path;
  double shift;  ///< towards noise (core/shifted_time.h); 1: none
  RandomPosition position;
  int64_t firstSample;  ///< of this process in the global batch; a sample is one element
};

/// out = low + floor(u · count), u ~ U[0, 1) in steps of 2^-24: whole numbers, each as likely as its neighbour to within count / 2^24.
struct IntegersArgs {
  int32_t* out;  ///< [batch]
  int64_t batch;
  int32_t low;
  int64_t count;  ///< how many numbers there are to choose from
  RandomPosition position;
  int64_t firstSample;  ///< of this process in the global batch; a sample is one element
};

/// Classifier-free guidance's label dropout: out = u < probability ? nullClass : label, u ~ U[0, 1).
struct DropLabelsArgs {
  const int32_t* labels;  ///< [batch]
  int32_t* out;           ///< [batch]; may be labels itself
  int64_t batch;
  double probability;  ///< in [0, 1]; told apart in steps of 2^-24
  int32_t nullClass;
  RandomPosition position;
  int64_t firstSample;  ///< of this process in the global batch; a sample is one element
};

/// A subset of each sample's tokens, every one as likely to within 2^-24: those with the smallest uniform numbers, of equal ones the first.
struct DrawTokensArgs {
  int32_t* ids;     ///< [batch, taken], ascending
  int32_t* places;  ///< [batch, tokens]: where a token stands in ids, -1 where it does not
  int64_t batch, tokens, taken;
  RandomPosition position;
  int64_t firstSample;  ///< of this process in the global batch; a sample is `tokens` elements
};

struct RandomKernels {
  /// U[0, 1) in steps of 2^-24.
  void (*uniform)(ThreadPool& pool, const RandomFillArgs& args);
  /// N(0, 1) by Box-Muller (core/box_muller.h), within 4 half-ulps of the exact transform; |value| <= 6.77.
  void (*normal)(ThreadPool& pool, const RandomFillArgs& args);
  void (*timesteps)(ThreadPool& pool, const TimestepsArgs& args);
  void (*integers)(ThreadPool& pool, const IntegersArgs& args);
  void (*dropLabels)(ThreadPool& pool, const DropLabelsArgs& args);
  void (*drawTokens)(ThreadPool& pool, const DrawTokensArgs& args);
};

REPA_CPU_KERNELS(RandomKernels, randomKernels);

}  // namespace repa::cpu
