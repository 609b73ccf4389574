#include "cpu/residual.h"

#include "cpu/chunks.h"
#include "cpu/partial_sums.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Both kernels see [groups, rows, width], a group being what shares one gate: a sample (gated) or everything
// (LayerScale's gamma).

void addGated(ThreadPool& pool, int64_t groups, int64_t groupRows, int64_t width, const float* x, const float* y,
              const float* gate, int64_t gateStride, float* out) {
  const int64_t rows = groups * groupRows;
  const int64_t parts = rowParts(rows, width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const float* rowGate = gate + row / groupRows * gateStride;
      const int64_t first = row * width;
      forEachVector(width, [&](int64_t i, auto lanes, int) {
        store(out + first + i, load(x + first + i, lanes) + load(rowGate + i, lanes) * load(y + first + i, lanes),
              lanes);
      });
    }
  });
}

/// What the backward pass of one block of rows reads and writes; pointers at the block's first row.
struct BackwardBlock {
  int64_t rows, width;
  const float* dOut;
  const float* y;
  const float* gate;
  float* dY;
  float* dGate;
  /// Null: not wanted.
  float* dBias;
};

/// `kRows` rows at once, so that the sums over rows visit their memory once for all of them.
template <int kRows>
void backwardRows(const BackwardBlock& block, int64_t row) {
  const int64_t width = block.width;
  const float* dOut = block.dOut + row * width;
  const float* y = block.y + row * width;
  float* dY = block.dY + row * width;
  forEachVector(width, [&](int64_t i, auto lanes, int) {
    const Vec gate = load(block.gate + i, lanes);
    Vec gateSum[kRows];
    Vec biasSum[kRows];
    for (int r = 0; r < kRows; ++r) {
      const Vec d = load(dOut + r * width + i, lanes);
      gateSum[r] = d * load(y + r * width + i, lanes);
      biasSum[r] = d * gate;
      store(dY + r * width + i, biasSum[r], lanes);
    }
    for (int half = kRows / 2; half > 0; half /= 2) {
      for (int r = 0; r < half; ++r) {
        gateSum[r] += gateSum[r + half];
        biasSum[r] += biasSum[r + half];
      }
    }
    store(block.dGate + i, load(block.dGate + i, lanes) + gateSum[0], lanes);
    if (block.dBias) store(block.dBias + i, load(block.dBias + i, lanes) + biasSum[0], lanes);
  });
}

constexpr int kRowsAtOnce = 4;

void backwardBlock(const BackwardBlock& block) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(block.width);
  std::memset(block.dGate, 0, bytes);
  if (block.dBias) std::memset(block.dBias, 0, bytes);
  int64_t row = 0;
  for (; row + kRowsAtOnce <= block.rows; row += kRowsAtOnce) backwardRows<kRowsAtOnce>(block, row);
  for (; row < block.rows; ++row) backwardRows<1>(block, row);
}

/// A block's partial sums are two rows of scratch, so blocks have at least this many rows.
constexpr int64_t kLeastRows = 32;

struct Backward {
  int64_t groups, rows, width;
  const float* dOut;
  const float* y;
  const float* gate;
  int64_t gateStride;
  float* dY;
  float* dGate;
  int64_t dGateStride;
  bool accumulateGate;
  float* dBias;
  bool accumulateBias;
  float* scratch;
};

int64_t scratchFloats(int64_t groups, int64_t rows, int64_t width) {
  return groups * rowParts(rows, width, kLeastRows) * 2 * width;
}

/// Scratch holds the blocks' partial sums, [groups, blocks, 2, width]: dGate, dBias.
void backward(ThreadPool& pool, const Backward& args) {
  const int64_t width = args.width;
  const int64_t blocks = rowParts(args.rows, width, kLeastRows);
  pool.parallelFor(args.groups * blocks, [&](int64_t chunk, int) {
    const int64_t group = chunk / blocks;
    const Range rows = evenPart(args.rows, blocks, chunk % blocks);
    const int64_t first = (group * args.rows + rows.begin) * width;
    float* partial = args.scratch + chunk * 2 * width;
    backwardBlock({rows.end - rows.begin, width, args.dOut + first, args.y + first,
                   args.gate + group * args.gateStride, args.dY + first, partial,
                   args.dBias ? partial + width : nullptr});
  });
  addPartialSums(pool, args.groups, blocks, width, args.scratch, blocks * 2 * width, 2 * width, args.dGate,
                 args.dGateStride, args.accumulateGate);
  if (args.dBias) {
    addPartialSums(pool, 1, args.groups * blocks, width, args.scratch + width, 0, 2 * width, args.dBias, 0,
                   args.accumulateBias);
  }
}

void gated(ThreadPool& pool, const GatedResidualArgs& args) {
  addGated(pool, args.batch, args.tokens, args.width, args.x, args.y, args.gate, args.gateStride, args.out);
}

void gatedBackward(ThreadPool& pool, const GatedResidualBackwardArgs& args) {
  backward(pool, {args.batch, args.tokens, args.width, args.dOut, args.y, args.gate, args.gateStride, args.dY,
                  args.dGate, args.dGateStride, false, args.dBias, args.accumulateBias, args.scratch});
}

int64_t gatedBackwardScratchFloats(const GatedResidualBackwardArgs& args, int) {
  return scratchFloats(args.batch, args.tokens, args.width);
}

void layerScale(ThreadPool& pool, const LayerScaleArgs& args) {
  addGated(pool, 1, args.rows, args.width, args.x, args.y, args.gamma, 0, args.out);
}

void layerScaleBackward(ThreadPool& pool, const LayerScaleBackwardArgs& args) {
  backward(pool, {1, args.rows, args.width, args.dOut, args.y, args.gamma, 0, args.dY, args.dGamma, 0,
                  args.accumulateGamma, args.dBias, args.accumulateBias, args.scratch});
}

int64_t layerScaleBackwardScratchFloats(const LayerScaleBackwardArgs& args, int) {
  return scratchFloats(1, args.rows, args.width);
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ResidualKernels& residualKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr ResidualKernels table = {level::gated,
                                            level::gatedBackward,
                                            level::gatedBackwardScratchFloats,
                                            level::layerScale,
                                            level::layerScaleBackward,
                                            level::layerScaleBackwardScratchFloats};
  return table;
}

}  // namespace repa::cpu
