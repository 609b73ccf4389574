#include "cpu/latents.h"

#include <algorithm>
#include <cmath>

#include "cpu/chunks.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

void posteriorMoments(ThreadPool& pool, const PosteriorMomentsArgs& args) {
  const int64_t count = 2 * args.batch * args.size;
  pool.parallelFor(floatChunks(count), [&](int64_t chunk, int) {
    const Range range = floatChunk(count, chunk);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const float value = args.parameters[i];
      const bool isMean = i / args.size % 2 == 0;
      // In this order what is not a number stays so.
      const float logVariance = std::min(std::max(value, kLeastLogVariance), kMostLogVariance);
      args.moments[i] = isMean ? value : static_cast<float>(std::exp(0.5 * logVariance));
    }
  });
}

void standardize(ThreadPool& pool, const StandardizeArgs& args) {
  const int64_t rows = args.batch * args.groups;
  const int64_t chunks = rowParts(rows, args.size, 1);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    const Range range = evenPart(rows, chunks, chunk);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const float mean = args.mean[row % args.groups], std = args.std[row % args.groups];
      for (int64_t i = row * args.size; i < (row + 1) * args.size; ++i) args.out[i] = (args.x[i] - mean) / std;
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const LatentsKernels& latentsKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr LatentsKernels table = {posteriorMoments, standardize};
  return table;
}

}  // namespace repa::cpu
