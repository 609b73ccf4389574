#include "fma_peak.h"

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Twelve chains hide the latency of 4 to 5 cycles on two units.
constexpr int kChains = 12;

double run(int64_t rounds, float* sink) {
  Vec x = splat(*sink);
  Vec y = splat(0.5f);
  asm volatile("" : "+m"(x), "+m"(y));
  Vec chain[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) chain[i] = x;
#pragma GCC unroll 1
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * x + y;
  }
  Vec sum = chain[0];
#pragma GCC unroll 12
  for (int i = 1; i < kChains; ++i) sum += chain[i];
  *sink = sumLanes(sum) == 0.0f ? 0.0f : 0.25f;
  return 2.0 * kChains * kLanes * static_cast<double>(rounds);
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const FmaPeak& fmaPeak<CpuLevel::REPA_LEVEL>() {
  static constexpr FmaPeak table = {REPA_LEVEL::run};
  return table;
}

}  // namespace repa::cpu
