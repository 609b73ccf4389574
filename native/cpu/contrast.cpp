#include "cpu/contrast.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr float kSmallestNorm = 1e-12f;

/// body(row) for all rows of `width` floats, parts of them in parallel.
template <class Body>
void forEachRow(ThreadPool& pool, int64_t rows, int64_t width, Body body) {
  const int64_t parts = rowParts(rows, width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) body(row);
  });
}

float dot(const float* a, const float* b, int64_t width) {
  Vec sums[kSlots] = {};
  forEachVector(width, [&](int64_t i, auto lanes, int slot) { sums[slot] += load(a + i, lanes) * load(b + i, lanes); });
  return sumSlots(sums);
}

void l2Normalize(ThreadPool& pool, const L2NormalizeArgs& args) {
  forEachRow(pool, args.rows, args.width, [&](int64_t row) {
    const float* x = args.x + row * args.width;
    float* unit = args.unit + row * args.width;
    const float norm = __builtin_sqrtf(dot(x, x, args.width));
    const float length = norm > kSmallestNorm ? norm : kSmallestNorm;
    args.norms[row] = norm;
    forEachVector(args.width, [&](int64_t i, auto lanes, int) { store(unit + i, load(x + i, lanes) / length, lanes); });
  });
}

void l2NormalizeBackward(ThreadPool& pool, const L2NormalizeBackwardArgs& args) {
  forEachRow(pool, args.rows, args.width, [&](int64_t row) {
    const float* dUnit = args.dUnit + row * args.width;
    const float* unit = args.unit + row * args.width;
    float* dX = args.dX + row * args.width;
    const bool isClamped = args.norms[row] < kSmallestNorm;
    const float length = isClamped ? kSmallestNorm : args.norms[row];
    const float along = isClamped ? 0.0f : dot(dUnit, unit, args.width);
    forEachVector(args.width, [&](int64_t i, auto lanes, int) {
      store(dX + i, (load(dUnit + i, lanes) - along * load(unit + i, lanes)) / length, lanes);
    });
  });
}

void crossEntropy(ThreadPool& pool, const CrossEntropyArgs& args) {
  const float weight = args.rowWeight * args.scale * lossScaleOf(args.state);
  forEachRow(pool, args.rows, args.rows, [&](int64_t row) {
    const float* logits = args.logits + row * args.rows;
    float largest = logits[0];
    for (int64_t i = 1; i < args.rows; ++i) largest = logits[i] > largest ? logits[i] : largest;
    Vec sums[kSlots] = {};
    forEachVector(args.rows, [&](int64_t i, auto lanes, int slot) {
      sums[slot] += keep(exp(args.scale * (load(logits + i, lanes) - largest)), lanes);
    });
    const float sum = sumSlots(sums);
    args.loss[row] = static_cast<float>(__builtin_log(double{sum}) - double{args.scale} * (double{logits[row]} - double{largest}));
    if (args.dLogits == nullptr) return;
    float* dLogits = args.dLogits + row * args.rows;
    const float factor = weight / sum;
    forEachVector(args.rows, [&](int64_t i, auto lanes, int) {
      store(dLogits + i, factor * exp(args.scale * (load(logits + i, lanes) - largest)), lanes);
    });
    dLogits[row] -= weight;
  });
}

double squaredDistance(const float* a, const float* b, int64_t size) {
  constexpr int64_t kBlock = 4096;  // summed in float, the blocks in double
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    Vec sums[kSlots] = {};
    forEachVector(size - begin < kBlock ? size - begin : kBlock, [&](int64_t i, auto lanes, int slot) {
      const Vec difference = load(a + begin + i, lanes) - load(b + begin + i, lanes);
      sums[slot] += difference * difference;
    });
    total += double{sumSlots(sums)};
  }
  return total;
}

void squaredDistances(ThreadPool& pool, const SquaredDistancesArgs& args) {
  const int64_t batch = args.batch;
  pool.parallelFor(batch * batch, [&](int64_t pair, int) {
    const int64_t i = pair / batch, j = pair % batch;
    if (j < i) return;
    // Also from itself: 0, and of a sample that is not finite NaN.
    const float distance = static_cast<float>(squaredDistance(args.x + i * args.size, args.x + j * args.size, args.size));
    args.distances[i * batch + j] = args.distances[j * batch + i] = distance;
  });
}

void dispersiveLoss(ThreadPool& pool, const DispersiveLossArgs& args) {
  const int64_t batch = args.batch;
  forEachRow(pool, batch, batch, [&](int64_t row) {
    const float* distances = args.distances + row * batch;
    const auto sumOf = [&](int64_t begin, int64_t end) {
      Vec sums[kSlots] = {};
      forEachVector(end - begin, [&](int64_t i, auto lanes, int slot) {
        sums[slot] += keep(exp(-args.scale * load(distances + begin + i, lanes)), lanes);
      });
      return double{sumSlots(sums)};
    };
    // From itself a sample is at 0, and at NaN where it is not finite: then all is.
    args.scratch[row] = sumOf(0, row) + sumOf(row + 1, batch) + double{distances[row]};
  });
  double total = static_cast<double>(batch);
  for (int64_t row = 0; row < batch; ++row) total += args.scratch[row];
  *args.loss = static_cast<float>(__builtin_log(total / (static_cast<double>(batch) * static_cast<double>(batch))));
  if (args.pull == nullptr) return;
  const float factor = static_cast<float>(4.0 * double{args.scale} * double{args.weight} / total) * lossScaleOf(args.state);
  forEachRow(pool, batch, batch, [&](int64_t row) {
    float* pull = args.pull + row * batch;
    forEachVector(batch, [&](int64_t i, auto lanes, int) {
      store(pull + i, factor * exp(-args.scale * load(args.distances + row * batch + i, lanes)), lanes);
    });
    pull[row] = -factor * static_cast<float>(args.scratch[row]);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ContrastKernels& contrastKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr ContrastKernels table = {level::l2Normalize, level::l2NormalizeBackward, level::crossEntropy, level::squaredDistances,
                                            level::dispersiveLoss};
  return table;
}

}  // namespace repa::cpu
