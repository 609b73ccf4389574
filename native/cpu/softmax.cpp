#include "cpu/softmax.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Behind the end of a row: what no maximum and no sum sees.
inline Vec behind(Vec v, WholeVector, float) { return v; }
inline Vec behind(Vec v, PartialVector lanes, float value) {
  Vec filled = splat(value);
  std::memcpy(&filled, &v, sizeof(float) * static_cast<size_t>(lanes.count));
  return filled;
}

void softmaxRow(int64_t columns, float scale, const float* x, float* out) {
  Vec largest[kSlots];
  for (Vec& v : largest) v = splat(scale * x[0]);
  forEachVector(columns, [&](int64_t i, auto lanes, int slot) {
    largest[slot] = maximum(largest[slot], behind(scale * load(x + i, lanes), lanes, scale * x[0]));
  });
  const float top = maxLanes(maximum(maximum(largest[0], largest[1]), maximum(largest[2], largest[3])));
  Vec sums[kSlots] = {};
  forEachVector(columns, [&](int64_t i, auto lanes, int slot) {
    const Vec e = exp(scale * load(x + i, lanes) - top);
    sums[slot] += keep(e, lanes);
    store(out + i, e, lanes);
  });
  const float share = 1.0f / sumSlots(sums);
  forEachVector(columns, [&](int64_t i, auto lanes, int) { store(out + i, share * load(out + i, lanes), lanes); });
}

void softmax(ThreadPool& pool, const SoftmaxArgs& args) {
  const int64_t chunks = rowParts(args.rows, args.columns, 1);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    const Range rows = evenPart(args.rows, chunks, chunk);
    for (int64_t row = rows.begin; row < rows.end; ++row)
      softmaxRow(args.columns, args.scale, args.x + row * args.columns, args.out + row * args.columns);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const SoftmaxKernels& softmaxKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr SoftmaxKernels table = {REPA_LEVEL::softmax};
  return table;
}

}  // namespace repa::cpu
