#include "cpu/fma_peak.h"

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Chains that do not wait for each other: more than the latency (4 or 5 cycles) times the units (2), and few enough for
/// 16 registers, the two constants included.
constexpr int kChains = 12;
/// Some tens of microseconds: long against taking a chunk, short against waiting for the last one.
constexpr int64_t kRounds = 8192;

int64_t chunkFlops() { return kRounds * kChains * kLanes * 2; }

void run(ThreadPool& pool, const FmaPeakArgs& args) {
  pool.parallelFor(args.chunks, [&](int64_t, int thread) {
    const Vec factor = splat(args.factor);
    const Vec addend = splat(args.addend);
    Vec chains[kChains];
    // Different values: equal ones would be one chain to the compiler.
    for (int c = 0; c < kChains; ++c) chains[c] = splat(static_cast<float>(c));
    for (int64_t round = 0; round < kRounds; ++round)
      for (int c = 0; c < kChains; ++c) chains[c] = factor * chains[c] + addend;
    Vec sum = {};
    for (int c = 0; c < kChains; ++c) sum += chains[c];
    args.out[thread] = sumLanes(sum);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const FmaPeakKernels& fmaPeakKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr FmaPeakKernels table = {level::run, level::chunkFlops};
  return table;
}

}  // namespace repa::cpu
