// Two token sequences as one, and apart again. A sample's tokens lie one after the other, so its part of either is one run of bytes.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[b] = [first[b] | rest[b]], of so many bytes a sample.
struct JoinTokensArgs {
  int64_t batch, firstBytes, restBytes;
  const void* first;  ///< null: zeros
  const void* rest;   ///< null: zeros
  void* out;
};

/// [first[b] | rest[b]] = x[b].
struct SplitTokensArgs {
  int64_t batch, firstBytes, restBytes;
  const void* x;
  void* first;
  void* rest;
};

struct JoinedTokensKernels {
  void (*joinTokens)(ThreadPool& pool, const JoinTokensArgs& args);
  void (*splitTokens)(ThreadPool& pool, const SplitTokensArgs& args);
};

REPA_CPU_KERNELS(JoinedTokensKernels, joinedTokensKernels);

}  // namespace repa::cpu
