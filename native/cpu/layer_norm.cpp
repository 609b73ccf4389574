#include "cpu/layer_norm.h"

#include <cmath>

#include "cpu/chunks.h"
#include "cpu/partial_sums.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// modulate multiplies xhat by 1 + scale or, of an RMSNorm, by the scale, and affine by weight: `base` + factor, with base 1 or 0.
constexpr float kAffineBase = 0.0f;

/// One row forward. Three passes over a row that stays in the first-level cache: the variance is the mean of squared
/// distances from the mean, not E[x^2] - mean^2, which cancels where the mean is large.
void normalizeRow(int64_t width, float epsilon, bool centred, const float* x, float base, const float* factor,
                  const float* offset, float* out, float* meanOut, float* rstdOut) {
  float mean = 0.0f;
  if (centred) {
    Vec sums[kSlots] = {};
    forEachVector(width, [&](int64_t i, auto lanes, int slot) { sums[slot] += load(x + i, lanes); });
    mean = sumSlots(sums) / static_cast<float>(width);
  }

  Vec squares[kSlots] = {};
  forEachVector(width, [&](int64_t i, auto lanes, int slot) {
    const Vec centred = keep(load(x + i, lanes) - mean, lanes);
    squares[slot] += centred * centred;
  });
  const float rstd = 1.0f / std::sqrt(sumSlots(squares) / static_cast<float>(width) + epsilon);

  forEachVector(width, [&](int64_t i, auto lanes, int) {
    const Vec xhat = (load(x + i, lanes) - mean) * rstd;
    store(out + i, xhat * (base + load(factor + i, lanes)) + load(offset + i, lanes), lanes);
  });
  *meanOut = mean;
  *rstdOut = rstd;
}

/// What the backward pass of one block of rows reads and writes; pointers at the block's first row.
struct BackwardBlock {
  int64_t rows, width;
  bool centred;
  const float* x;
  const float* mean;
  const float* rstd;
  float base;
  const float* factor;
  const float* dOut;
  const float* dResidual;
  float* dX;
  float* dFactor;
  float* dOffset;
};

/// Row by row, in two sweeps, the second from the nearest caches: the row's two means, then dX and the sums over rows.
/// One row at a time makes four long streams, which the prefetcher follows: for activations that fit the last-level
/// cache that measured up to twice as fast as four rows side by side, which win only on wide rows from main memory.
void backwardBlock(const BackwardBlock& block) {
  const int64_t width = block.width;
  const float base = block.base;
  const float* factor = block.factor;
  float* dFactor = block.dFactor;
  float* dOffset = block.dOffset;
  std::memset(dFactor, 0, sizeof(float) * static_cast<size_t>(width));
  std::memset(dOffset, 0, sizeof(float) * static_cast<size_t>(width));
  for (int64_t row = 0; row < block.rows; ++row) {
    const float* x = block.x + row * width;
    const float* dOut = block.dOut + row * width;
    const float* dResidual = block.dResidual ? block.dResidual + row * width : nullptr;
    float* dX = block.dX + row * width;
    const float mean = block.mean[row];
    const float rstd = block.rstd[row];

    Vec sumG[kSlots] = {};
    Vec sumGXhat[kSlots] = {};
    forEachVector(width, [&](int64_t i, auto lanes, int slot) {
      const Vec g = load(dOut + i, lanes) * (base + load(factor + i, lanes));
      sumG[slot] += g;
      sumGXhat[slot] += g * ((load(x + i, lanes) - mean) * rstd);
    });
    const float meanG = block.centred ? sumSlots(sumG) / static_cast<float>(width) : 0.0f;
    const float meanGXhat = sumSlots(sumGXhat) / static_cast<float>(width);

    forEachVector(width, [&](int64_t i, auto lanes, int) {
      const Vec d = load(dOut + i, lanes);
      const Vec xhat = (load(x + i, lanes) - mean) * rstd;
      Vec gradient = rstd * (d * (base + load(factor + i, lanes)) - meanG - xhat * meanGXhat);
      if (dResidual) gradient += load(dResidual + i, lanes);
      store(dX + i, gradient, lanes);
      store(dOffset + i, load(dOffset + i, lanes) + d, lanes);
      store(dFactor + i, load(dFactor + i, lanes) + d * xhat, lanes);
    });
  }
}

/// A block's partial sums are two rows of scratch, so blocks have at least this many rows.
constexpr int64_t kLeastRows = 32;

void modulate(ThreadPool& pool, const LayerNormModulateArgs& args) {
  const int64_t rows = args.batch * args.tokens;
  const int64_t parts = rowParts(rows, args.width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const int64_t modulation = row / args.tokens * args.modulationStride;
      normalizeRow(args.width, args.epsilon, args.centred, args.x + row * args.width, args.base, args.scale + modulation,
                   args.shift + modulation, args.out + row * args.width, args.mean + row, args.rstd + row);
    }
  });
}

void affine(ThreadPool& pool, const LayerNormArgs& args) {
  const int64_t parts = rowParts(args.rows, args.width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(args.rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      normalizeRow(args.width, args.epsilon, true, args.x + row * args.width, kAffineBase, args.weight, args.bias,
                   args.out + row * args.width, args.mean + row, args.rstd + row);
    }
  });
}

// Backward, both forms: [groups, rows, width], a group being what shares one factor (a sample, or everything). Scratch
// holds the blocks' partial sums, [groups, blocks, 2, width]: dFactor, dOffset.

int64_t blocksPerGroup(int64_t rows, int64_t width) { return rowParts(rows, width, kLeastRows); }

int64_t scratchFloats(int64_t groups, int64_t rows, int64_t width) {
  return groups * blocksPerGroup(rows, width) * 2 * width;
}

void modulateBackward(ThreadPool& pool, const LayerNormModulateBackwardArgs& args) {
  const int64_t width = args.width;
  const int64_t blocks = blocksPerGroup(args.tokens, width);
  pool.parallelFor(args.batch * blocks, [&](int64_t chunk, int) {
    const int64_t sample = chunk / blocks;
    const Range tokens = evenPart(args.tokens, blocks, chunk % blocks);
    const int64_t row = sample * args.tokens + tokens.begin;
    float* partial = args.scratch + chunk * 2 * width;
    backwardBlock({tokens.end - tokens.begin, width, args.centred, args.x + row * width, args.mean + row, args.rstd + row,
                   args.base, args.scale + sample * args.modulationStride, args.dOut + row * width,
                   args.dResidual ? args.dResidual + row * width : nullptr, args.dX + row * width, partial,
                   partial + width});
  });
  const int64_t groupStride = blocks * 2 * width;
  addPartialSums(pool, args.batch, blocks, width, args.scratch, groupStride, 2 * width, args.dScale,
                 args.dModulationStride, false);
  addPartialSums(pool, args.batch, blocks, width, args.scratch + width, groupStride, 2 * width, args.dShift,
                 args.dModulationStride, false);
}

int64_t modulateBackwardScratchFloats(const LayerNormModulateBackwardArgs& args, int) {
  return scratchFloats(args.batch, args.tokens, args.width);
}

void affineBackward(ThreadPool& pool, const LayerNormBackwardArgs& args) {
  const int64_t width = args.width;
  const int64_t blocks = blocksPerGroup(args.rows, width);
  pool.parallelFor(blocks, [&](int64_t block, int) {
    const Range rows = evenPart(args.rows, blocks, block);
    const int64_t first = rows.begin * width;
    float* partial = args.scratch + block * 2 * width;
    backwardBlock({rows.end - rows.begin, width, true, args.x + first, args.mean + rows.begin, args.rstd + rows.begin,
                   kAffineBase, args.weight, args.dOut + first, args.dResidual ? args.dResidual + first : nullptr,
                   args.dX + first, partial, partial + width});
  });
  addPartialSums(pool, 1, blocks, width, args.scratch, 0, 2 * width, args.dWeight, 0, args.accumulate);
  addPartialSums(pool, 1, blocks, width, args.scratch + width, 0, 2 * width, args.dBias, 0, args.accumulate);
}

int64_t affineBackwardScratchFloats(const LayerNormBackwardArgs& args, int) {
  return scratchFloats(1, args.rows, args.width);
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const LayerNormKernels& layerNormKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr LayerNormKernels table = {level::modulate,
                                             level::modulateBackward,
                                             level::modulateBackwardScratchFloats,
                                             level::affine,
                                             level::affineBackward,
                                             level::affineBackwardScratchFloats};
  return table;
}

}  // namespace repa::cpu
