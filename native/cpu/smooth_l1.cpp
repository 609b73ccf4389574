#include "cpu/smooth_l1.h"

#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

void smoothL1Loss(ThreadPool& pool, const SmoothL1LossArgs& args) {
  const float weight = args.elementWeight * lossScaleOf(args.state);
  constexpr int64_t kBlock = 4096;  // summed in float, the blocks in double
  pool.parallelFor(args.batch, [&](int64_t sample, int) {
    const float* prediction = args.prediction + sample * args.size;
    const float* target = args.target + sample * args.size;
    float* gradient = args.gradient == nullptr ? nullptr : args.gradient + sample * args.size;
    double total = 0;
    for (int64_t begin = 0; begin < args.size; begin += kBlock) {
      Vec sums[kSlots] = {};
      forEachVector(args.size - begin < kBlock ? args.size - begin : kBlock, [&](int64_t i, auto lanes, int slot) {
        const Vec d = load(prediction + begin + i, lanes) - load(target + begin + i, lanes);
        // Not maximum() and minimum(): a NaN stays one, as in torch.
        const Vec ratio = d / args.beta;
        const Vec slope = ratio > 1.0f ? splat(1.0f) : ratio < -1.0f ? splat(-1.0f) : ratio;
        // Both branches at once: within beta the clamped slope is d / beta, beyond it the sign of d.
        sums[slot] += slope * (d - 0.5f * args.beta * slope);
        if (gradient != nullptr) store(gradient + begin + i, weight * slope, lanes);
      });
      total += double{sumSlots(sums)};
    }
    args.loss[sample] = static_cast<float>(total / static_cast<double>(args.size));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const SmoothL1Kernels& smoothL1Kernels<CpuLevel::REPA_LEVEL>() {
  static constexpr SmoothL1Kernels table = {REPA_LEVEL::smoothL1Loss};
  return table;
}

}  // namespace repa::cpu
