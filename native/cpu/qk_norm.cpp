#include "cpu/qk_norm.h"

#include <cmath>

#include "core/divide_up.h"
#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Floats of qkv in a chunk of work: some tens of microseconds.
constexpr int64_t kChunkFloats = 1 << 16;
// Bounds the scratch for the parameter gradients' partial sums.
constexpr int64_t kMaxChunks = 1024;

// Rows cut into chunks by the sizes alone.
struct Chunks {
  int64_t rows;
  int64_t rowsPerChunk;
  int64_t count;

  Chunks(int64_t rows, int64_t rowFloats) : rows(rows) {
    const int64_t worthwhile = divideUp(kChunkFloats, rowFloats);
    const int64_t fewEnough = divideUp(rows, kMaxChunks);
    rowsPerChunk = worthwhile > fewEnough ? worthwhile : fewEnough;
    count = divideUp(rows, rowsPerChunk);
  }
  int64_t begin(int64_t chunk) const { return chunk * rowsPerChunk; }
  int64_t end(int64_t chunk) const { return (chunk + 1) * rowsPerChunk < rows ? (chunk + 1) * rowsPerChunk : rows; }
};

// A vector of `size` floats seen Vec by Vec, of which the last may be partly there.
Vec loadColumns(const float* from, int64_t column, int64_t size) {
  return column + kLanes <= size ? load(from + column) : loadPartial(from + column, static_cast<int>(size - column));
}

void storeColumns(float* to, int64_t column, int64_t size, Vec v) {
  if (column + kLanes <= size)
    store(to + column, v);
  else
    storePartial(to + column, v, static_cast<int>(size - column));
}

/// Zero in the lanes at and behind `size`.
Vec keepColumns(int64_t column, int64_t size, Vec v) {
  if (column + kLanes <= size) return v;
  IntVec lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < static_cast<int32_t>(size - column) ? v : Vec{};
}

/// The norm of one head's query or key.
void normalise(const float* x, int64_t d, bool centred, float eps, const float* weight, const float* bias, float* y,
               float* meanOut, float* rstdOut) {
  float mean = 0.0f;
  if (centred) {
    Vec sum = {};
    for (int64_t c = 0; c < d; c += kLanes) sum += loadColumns(x, c, d);
    mean = sumLanes(sum) / static_cast<float>(d);
  }
  Vec squares = {};
  for (int64_t c = 0; c < d; c += kLanes) {
    const Vec distance = keepColumns(c, d, loadColumns(x, c, d) - mean);
    squares += distance * distance;
  }
  const float rstd = 1.0f / std::sqrt(sumLanes(squares) / static_cast<float>(d) + eps);
  for (int64_t c = 0; c < d; c += kLanes) {
    const Vec scaled = (loadColumns(x, c, d) - mean) * rstd * loadColumns(weight, c, d);
    storeColumns(y, c, d, bias == nullptr ? scaled : scaled + loadColumns(bias, c, d));
  }
  if (meanOut != nullptr) *meanOut = mean;
  if (rstdOut != nullptr) *rstdOut = rstd;
}

void forward(ThreadPool& pool, const QkNormForwardArgs& args) {
  const int64_t d = args.headDim;
  const int64_t width = args.heads * d;  // of the queries, of the keys and of the values of a row
  const Chunks chunks(args.rows, 3 * width);
  pool.parallelFor(chunks.count, [&](int64_t chunk, int) {
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float* in = args.qkv + row * 3 * width;
      float* out = args.normed + row * 3 * width;
      for (int64_t which = 0; which < 2; ++which)
        for (int64_t head = 0; head < args.heads; ++head) {
          const int64_t at = which * width + head * d;
          const int64_t statistic = (row * 2 + which) * args.heads + head;
          normalise(in + at, d, args.centred, args.eps, which == 0 ? args.qWeight : args.kWeight,
                    which == 0 ? args.qBias : args.kBias, out + at,
                    args.mean == nullptr ? nullptr : args.mean + statistic,
                    args.rstd == nullptr ? nullptr : args.rstd + statistic);
        }
      std::memcpy(out + 2 * width, in + 2 * width, sizeof(float) * static_cast<size_t>(width));
    }
  });
}

/// With n = (x - mean) * rstd and dn = dy * weight:
///   dx = rstd * (dn - mean(dn) - n * mean(dn * n)),   dWeight += dy * n,   dBias += dy;   not centred: without mean(dn).
/// dWeight and dBias have room for whole Vecs.
void normaliseBackward(const float* x, const float* dy, int64_t d, bool centred, float mean, float rstd,
                       const float* weight, float* dx, float* dWeight, float* dBias) {
  Vec sum = {};
  Vec sumWithN = {};
  for (int64_t c = 0; c < d; c += kLanes) {
    const Vec gradient = loadColumns(dy, c, d);
    const Vec n = (loadColumns(x, c, d) - mean) * rstd;
    const Vec dn = gradient * loadColumns(weight, c, d);
    const Vec dyN = keepColumns(c, d, gradient * n);
    sum += dn;
    sumWithN += keepColumns(c, d, dn * n);
    store(dWeight + c, load(dWeight + c) + dyN);
    store(dBias + c, load(dBias + c) + gradient);
  }
  const float meanDn = centred ? sumLanes(sum) / static_cast<float>(d) : 0.0f;
  const float meanDnN = sumLanes(sumWithN) / static_cast<float>(d);
  for (int64_t c = 0; c < d; c += kLanes) {
    const Vec n = (loadColumns(x, c, d) - mean) * rstd;
    const Vec dn = loadColumns(dy, c, d) * loadColumns(weight, c, d);
    storeColumns(dx, c, d, rstd * (dn - meanDn - n * meanDnN));
  }
}

int64_t paddedDim(const QkNormBackwardArgs& args) { return divideUp(args.headDim, kLanes) * kLanes; }

int64_t backwardScratchFloats(const QkNormBackwardArgs& args, int) {
  return Chunks(args.rows, 3 * args.heads * args.headDim).count * 4 * paddedDim(args);
}

void backward(ThreadPool& pool, const QkNormBackwardArgs& args) {
  const int64_t d = args.headDim;
  const int64_t width = args.heads * d;
  const int64_t padded = paddedDim(args);
  const Chunks chunks(args.rows, 3 * width);
  // First stage: every chunk sums its rows into its own [4, padded]: dqWeight, dqBias, dkWeight, dkBias.
  pool.parallelFor(chunks.count, [&](int64_t chunk, int) {
    float* sums = args.scratch + chunk * 4 * padded;
    std::memset(sums, 0, sizeof(float) * static_cast<size_t>(4 * padded));
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const float* in = args.qkv + row * 3 * width;
      const float* dOut = args.dNormed + row * 3 * width;
      float* dIn = args.dqkv + row * 3 * width;
      for (int64_t which = 0; which < 2; ++which)
        for (int64_t head = 0; head < args.heads; ++head) {
          const int64_t at = which * width + head * d;
          const int64_t statistic = (row * 2 + which) * args.heads + head;
          normaliseBackward(in + at, dOut + at, d, args.centred, args.mean[statistic], args.rstd[statistic],
                            which == 0 ? args.qWeight : args.kWeight, dIn + at, sums + 2 * which * padded,
                            sums + (2 * which + 1) * padded);
        }
      std::memcpy(dIn + 2 * width, dOut + 2 * width, sizeof(float) * static_cast<size_t>(width));
    }
  });
  // Second stage: the chunks' sums, in order.
  float* const gradients[4] = {args.dqWeight, args.dqBias, args.dkWeight, args.dkBias};
  pool.parallelFor(1, [&](int64_t, int) {
    for (int64_t which = 0; which < 4; ++which) {
      if (gradients[which] == nullptr) continue;
      for (int64_t c = 0; c < d; ++c) {
        double total = args.accumulate ? gradients[which][c] : 0.0;
        for (int64_t chunk = 0; chunk < chunks.count; ++chunk) total += args.scratch[(chunk * 4 + which) * padded + c];
        gradients[which][c] = static_cast<float>(total);
      }
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const QkNormKernels& qkNormKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr QkNormKernels table = {REPA_LEVEL::forward, REPA_LEVEL::backwardScratchFloats, REPA_LEVEL::backward};
  return table;
}

}  // namespace repa::cpu
