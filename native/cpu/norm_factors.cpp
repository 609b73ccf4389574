#include "cpu/norm_factors.h"

#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

void forward(ThreadPool& pool, const NormFactorsArgs& args) {
  pool.parallelFor(args.batch, [&](int64_t sample, int) {
    for (int64_t chunk = 0; chunk < args.chunks; ++chunk) {
      const int64_t at = (sample * args.chunks + chunk) * args.width;
      const float* from = args.modulation + at;
      float* out = args.out + at;
      if (chunk % 3 != 1) {
        std::memcpy(out, from, sizeof(float) * static_cast<size_t>(args.width));
        continue;
      }
      const float* weight = args.weights + chunk / 3 * args.width;
      forEachVector(args.width, [&](int64_t i, auto lanes, int) {
        store(out + i, load(weight + i, lanes) * (1.0f + load(from + i, lanes)), lanes);
      });
    }
  });
}

void backward(ThreadPool& pool, const NormFactorsBackwardArgs& args) {
  const int64_t width = args.width, chunks = args.chunks;
  // A norm's sums are one thread's, sample by sample.
  pool.parallelFor(args.norms, [&](int64_t norm, int) {
    const float* weight = args.weights + norm * width;
    float* dWeight = args.dWeights + norm * width;
    if (!args.accumulate) std::memset(dWeight, 0, sizeof(float) * static_cast<size_t>(width));
    for (int64_t sample = 0; sample < args.batch; ++sample) {
      const int64_t at = (sample * chunks + 3 * norm + 1) * width;
      const float* scale = args.modulation + at;
      float* d = args.dModulation + at;
      forEachVector(width, [&](int64_t i, auto lanes, int) {
        const Vec gradient = load(d + i, lanes);
        store(dWeight + i, load(dWeight + i, lanes) + gradient * (1.0f + load(scale + i, lanes)), lanes);
        store(d + i, gradient * load(weight + i, lanes), lanes);
      });
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const NormFactorsKernels& normFactorsKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr NormFactorsKernels table = {REPA_LEVEL::forward, REPA_LEVEL::backward};
  return table;
}

}  // namespace repa::cpu
