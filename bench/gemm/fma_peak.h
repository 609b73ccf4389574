// The yardstick of gemm-bench: multiply-adds on registers alone.
#pragma once

#include <cstdint>

#include "cpu/level.h"

namespace repa::cpu {

struct FmaPeak {
  /// Runs `rounds` of independent multiply-adds and returns the FLOP done; `sink` keeps them from being dropped.
  double (*run)(int64_t rounds, float* sink);
};

REPA_CPU_KERNELS(FmaPeak, fmaPeak);

}  // namespace repa::cpu
