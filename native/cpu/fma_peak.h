// What a kernel's speed is compared with: the multiply-adds that this machine can do per second at the level in use, all
// operands in registers, on all threads of the pool. It is measured and not computed from a clock rate: that depends on the
// temperature, on how many cores are busy, and on who else runs there.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct FmaPeakArgs {
  /// How many times fmaPeakChunkFlops() is done, in chunks that the threads share.
  int64_t chunks;
  /// x <- factor * x + addend, over and over.
  float factor, addend;
  /// [threads of the pool]: keeps the results alive.
  float* out;
};

struct FmaPeakKernels {
  void (*run)(ThreadPool&, const FmaPeakArgs&);
  /// A multiply-add counts as two.
  int64_t (*chunkFlops)();
};

REPA_CPU_KERNELS(FmaPeakKernels, fmaPeakKernels);

}  // namespace repa::cpu
