#include "cpu/norm_factors.h"

#include "core/divide_up.h"
#include "cpu/partial_sums.h"
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

// So many samples are summed in float, one after the other; the sums of all blocks of them in double. A DDT head has a sample a token.
constexpr int64_t kBlockSamples = 64;

int64_t blocksOf(const NormFactorsBackwardArgs& args) { return divideUp(args.batch, kBlockSamples); }

void backward(ThreadPool& pool, const NormFactorsBackwardArgs& args) {
  const int64_t width = args.width, chunks = args.chunks, blocks = blocksOf(args);
  pool.parallelFor(args.norms * blocks, [&](int64_t index, int) {
    const int64_t norm = index / blocks;
    const Range samples = evenPart(args.batch, blocks, index % blocks);
    const float* weight = args.weights + norm * width;
    float* sums = args.scratch + index * width;
    std::memset(sums, 0, sizeof(float) * static_cast<size_t>(width));
    for (int64_t sample = samples.begin; sample < samples.end; ++sample) {
      const int64_t at = (sample * chunks + 3 * norm + 1) * width;
      const float* scale = args.modulation + at;
      float* d = args.dModulation + at;
      forEachVector(width, [&](int64_t i, auto lanes, int) {
        const Vec gradient = load(d + i, lanes);
        store(sums + i, load(sums + i, lanes) + gradient * (1.0f + load(scale + i, lanes)), lanes);
        store(d + i, gradient * load(weight + i, lanes), lanes);
      });
    }
  });
  addPartialSums(pool, args.norms, blocks, width, args.scratch, blocks * width, width, args.dWeights, width, args.accumulate);
}

int64_t backwardScratchFloats(const NormFactorsBackwardArgs& args) { return args.norms * blocksOf(args) * args.width; }

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const NormFactorsKernels& normFactorsKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr NormFactorsKernels table = {REPA_LEVEL::forward, REPA_LEVEL::backward, REPA_LEVEL::backwardScratchFloats};
  return table;
}

}  // namespace repa::cpu
