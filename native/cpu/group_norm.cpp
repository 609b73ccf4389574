#include "cpu/group_norm.h"

#include <cmath>

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

// One pass over memory. A chunk of pixels stays in the second-level cache while it is visited twice: for each channel's mean
// over the chunk, then for each channel's sum of squared distances from that mean. Chunks and channels are put together in
// double by the formula for two samples' moments (Chan, Golub and LeVeque 1983), which does not cancel where the mean is large.
//
//   scratch   [batch, chunks, 2, channels]: mean and sum of squared distances

namespace repa::cpu::REPA_LEVEL {
namespace {

int64_t pixelChunks(int64_t pixels, int64_t channels) { return rowParts(pixels, channels, 1); }

int64_t scratchFloats(const GroupNormCoefficientsArgs& args) {
  return args.batch * pixelChunks(args.pixels, args.channels) * 2 * args.channels;
}

/// Mean and sum of squared distances of every channel over `pixels` pixels.
void chunkMoments(const float* x, int64_t pixels, int64_t channels, float* means, float* squares) {
  const Vec share = splat(1.0f / static_cast<float>(pixels));
  forEachVector(channels, [&](int64_t c, auto lanes, int) {
    Vec sums[kSlots] = {};
    int64_t p = 0;
    for (; p + kSlots <= pixels; p += kSlots)
      for (int slot = 0; slot < kSlots; ++slot) sums[slot] += load(x + (p + slot) * channels + c, lanes);
    for (; p < pixels; ++p) sums[0] += load(x + p * channels + c, lanes);
    const Vec mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) * share;
    store(means + c, mean, lanes);
    Vec distances[kSlots] = {};
    for (p = 0; p + kSlots <= pixels; p += kSlots) {
      for (int slot = 0; slot < kSlots; ++slot) {
        const Vec d = load(x + (p + slot) * channels + c, lanes) - mean;
        distances[slot] += d * d;
      }
    }
    for (; p < pixels; ++p) {
      const Vec d = load(x + p * channels + c, lanes) - mean;
      distances[0] += d * d;
    }
    store(squares + c, (distances[0] + distances[1]) + (distances[2] + distances[3]), lanes);
  });
}

void coefficients(ThreadPool& pool, const GroupNormCoefficientsArgs& args) {
  const int64_t channels = args.channels, chunks = pixelChunks(args.pixels, channels);
  pool.parallelFor(args.batch * chunks, [&](int64_t index, int) {
    const Range range = evenPart(args.pixels, chunks, index % chunks);
    float* moments = args.scratch + index * 2 * channels;
    chunkMoments(args.x + (index / chunks * args.pixels + range.begin) * channels, range.end - range.begin, channels, moments,
                 moments + channels);
  });
  const int64_t width = channels / args.groups;
  pool.parallelFor(args.batch * args.groups, [&](int64_t index, int) {
    const int64_t sample = index / args.groups, first = index % args.groups * width;
    double count = 0, mean = 0, squares = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const Range range = evenPart(args.pixels, chunks, chunk);
      const double pixels = static_cast<double>(range.end - range.begin);
      const float* moments = args.scratch + (sample * chunks + chunk) * 2 * channels;
      for (int64_t c = first; c < first + width; ++c) {
        const double distance = static_cast<double>(moments[c]) - mean;
        const double all = count + pixels;
        mean += distance * pixels / all;
        squares += static_cast<double>(moments[channels + c]) + distance * distance * count * pixels / all;
        count = all;
      }
    }
    const double rstd = 1.0 / std::sqrt(squares / count + args.epsilon);
    float* scale = args.coefficients + sample * 2 * channels;
    for (int64_t c = first; c < first + width; ++c) {
      const double factor = rstd * static_cast<double>(args.weight[c]);
      scale[c] = static_cast<float>(factor);
      scale[channels + c] = static_cast<float>(static_cast<double>(args.bias[c]) - mean * factor);
    }
  });
}

void apply(ThreadPool& pool, const GroupNormApplyArgs& args) {
  const int64_t channels = args.channels, chunks = pixelChunks(args.pixels, channels);
  pool.parallelFor(args.batch * chunks, [&](int64_t index, int) {
    const int64_t sample = index / chunks;
    const Range range = evenPart(args.pixels, chunks, index % chunks);
    const float* scale = args.coefficients + sample * 2 * channels;
    for (int64_t pixel = sample * args.pixels + range.begin; pixel < sample * args.pixels + range.end; ++pixel) {
      const float* x = args.x + pixel * channels;
      float* out = args.out + pixel * channels;
      forEachVector(channels, [&](int64_t c, auto lanes, int) {
        const Vec v = load(x + c, lanes) * load(scale + c, lanes) + load(scale + channels + c, lanes);
        store(out + c, args.silu ? silu(v) : v, lanes);
      });
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const GroupNormKernels& groupNormKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr GroupNormKernels table = {level::coefficients, level::scratchFloats, level::apply};
  return table;
}

}  // namespace repa::cpu
