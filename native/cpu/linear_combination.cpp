#include "cpu/linear_combination.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kElementsPerChunk = 1 << 14;
constexpr int kTile = 256;

// sum[i] (+)= coefficient * values[i]; the compiler makes vectors of it.
template <bool first, class Value>
void addTerm(double* sum, const Value* values, double coefficient, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double product = coefficient * static_cast<double>(values[i]);
    sum[i] = first ? product : sum[i] + product;
  }
}

// Tile by tile, so that the sum stays in the first cache and `out` may be one of the terms.
void linearCombination(ThreadPool& pool, const LinearCombinationArgs& args) {
  pool.parallelFor((args.size + kElementsPerChunk - 1) / kElementsPerChunk, [&](int64_t chunk, int) {
    const int64_t begin = chunk * kElementsPerChunk;
    const int64_t end = begin + kElementsPerChunk < args.size ? begin + kElementsPerChunk : args.size;
    for (int64_t at = begin; at < end; at += kTile) {
      const int64_t count = at + kTile < end ? kTile : end - at;
      double sum[kTile];
      for (int k = 0; k < args.termCount; ++k) {
        const LinearCombinationTerm& term = args.terms[k];
        if (term.isDouble) {
          const double* values = static_cast<const double*>(term.values) + at;
          k == 0 ? addTerm<true>(sum, values, term.coefficient, count)
                 : addTerm<false>(sum, values, term.coefficient, count);
        } else {
          const float* values = static_cast<const float*>(term.values) + at;
          k == 0 ? addTerm<true>(sum, values, term.coefficient, count)
                 : addTerm<false>(sum, values, term.coefficient, count);
        }
      }
      for (int64_t i = 0; i < count; ++i) args.out[at + i] = sum[i];
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const LinearCombinationKernels& linearCombinationKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr LinearCombinationKernels table = {linearCombination};
  return table;
}

}  // namespace repa::cpu
