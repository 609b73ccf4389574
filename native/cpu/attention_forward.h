// Attention, forward: one part of a head's queries at a time, its running output, maximum and sum in scratch.
#pragma once

#include "core/divide_up.h"
#include "cpu/attention.h"
#include "cpu/attention_blocks.h"
#include "cpu/tile_product.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Queries for which forward holds its running output: the keys and values are packed once for all of them.
constexpr int64_t kMaxQueryPart = 512;
constexpr int64_t kMinQueryPart = 128;

// A unit of work is a part of one head's queries against all of its keys.
struct ForwardPlan : Sizes {
  int64_t parts;
  int64_t part;  // queries in a part; the last may have fewer
  int64_t units;
  int64_t scratchPerThread;

  explicit ForwardPlan(const AttentionForwardArgs& a) : Sizes(a.tokens, a.heads, a.headDim) {
    const int64_t allHeads = a.batch * a.heads;
    const int64_t wanted = smaller(divideUp(kWantedUnits, larger(1, allHeads)), divideUp(tokens, kMinQueryPart));
    part = divideUp(tokens, larger(divideUp(tokens, kMaxQueryPart), wanted));
    parts = divideUp(tokens, part);
    units = allHeads * parts;
    scratchPerThread = roundUp(headDim * keyStride               // Kt
                                   + keyBlock * dimStride        // V
                                   + kQueryBlock * dimStride     // Q
                                   + kQueryBlock * keyStride     // S, P
                                   + part * dimStride            // O
                                   + 2 * part + kQueryBlock,     // running maximum and sum, correction
                               kAlignmentFloats);
  }
};

/// S -> P = 2^(S - m), m the maximum so far, row by row; brings the running maximum and sum up to date, and says by
/// what factor what has been summed under the old maximum must be corrected. Only the first `keys` columns count.
void softmaxBlock(float* scores, int64_t stride, int64_t rows, int64_t keys, bool first, float* rowMaximum,
                  float* rowSum, float* correction) {
  IntVec lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  const int64_t whole = keys / kLanes * kLanes;
  const IntVec inTail = lane < static_cast<int32_t>(keys - whole);
  for (int64_t row = 0; row < rows; ++row) {
    float* s = scores + row * stride;
    Vec top = splat(-INFINITY);
    for (int64_t c = 0; c < whole; c += kLanes) top = maximum(load(s + c), top);
    if (whole < keys) {
      const Vec tail = load(s + whole);
      top = maximum(inTail ? tail : top, top);
    }
    const float blockMaximum = maxLanes(top);
    const float before = first ? -INFINITY : rowMaximum[row];
    const float now = before > blockMaximum ? before : blockMaximum;

    Vec sum = {};
    for (int64_t c = 0; c < whole; c += kLanes) {
      const Vec p = exp2(load(s + c) - now);
      store(s + c, p);
      sum += p;
    }
    if (whole < keys) {
      const Vec p = inTail ? exp2(load(s + whole) - now) : Vec{};
      store(s + whole, p);
      sum += p;
    }
    const float rescale = first ? 0.0f : std::exp2(before - now);
    correction[row] = rescale;
    rowSum[row] = first ? sumLanes(sum) : rowSum[row] * rescale + sumLanes(sum);
    rowMaximum[row] = now;
  }
}

/// Leaves to each row of scores the keys up to its own query's: row 0's is key `own` of the block, or lies before it where that is negative.
void hideLaterKeys(float* scores, int64_t stride, int64_t rows, int64_t keys, int64_t own) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t key = larger(0, own + row + 1); key < keys; ++key) scores[row * stride + key] = -INFINITY;
}

/// kCausal: a query sees the keys up to its own. The first block of keys has one for every query, so that no row's maximum is -inf.
template <bool kCausal>
void forwardUnit(const AttentionForwardArgs& args, const ForwardPlan& plan, int64_t unit, float* scratch) {
  const int64_t d = plan.headDim;
  const int64_t sample = unit / plan.parts / plan.heads;
  const int64_t head = unit / plan.parts % plan.heads;
  const int64_t begin = unit % plan.parts * plan.part;
  const int64_t queries = smaller(plan.part, plan.tokens - begin);

  float* kt = scratch;
  float* v = kt + d * plan.keyStride;
  float* q = v + plan.keyBlock * plan.dimStride;
  float* scores = q + kQueryBlock * plan.dimStride;
  float* o = scores + kQueryBlock * plan.keyStride;
  float* rowMaximum = o + plan.part * plan.dimStride;
  float* rowSum = rowMaximum + plan.part;
  float* correction = rowSum + plan.part;

  const float* qkv = args.qkv + sample * plan.tokens * plan.rowStride + head * d;
  clear(o, queries * plan.dimStride);
  const int64_t endOfKeys = kCausal ? begin + queries : plan.tokens;
  for (int64_t firstKey = 0; firstKey < endOfKeys; firstKey += plan.keyBlock) {
    const int64_t keys = smaller(plan.keyBlock, endOfKeys - firstKey);
    const float* k = qkv + firstKey * plan.rowStride + plan.heads * d;
    packTransposed(k, plan.rowStride, keys, d, roundUp(keys, kLanes), kt, plan.keyStride);
    packRows(k + plan.heads * d, plan.rowStride, keys, d, plan.paddedDim, 1.0f, v, plan.dimStride);
    for (int64_t block = 0; block < queries; block += kQueryBlock) {
      const int64_t rows = smaller(kQueryBlock, queries - block);
      // Of the keys those that the block's last query sees.
      const int64_t seen = kCausal ? smaller(keys, begin + block + rows - firstKey) : keys;
      if (seen <= 0) continue;
      packRows(qkv + (begin + block) * plan.rowStride, plan.rowStride, rows, d, d, plan.scale * kLog2E, q,
               plan.dimStride);
      product<TileA::rowMajor>(
          rows, roundUp(seen, kLanes), d, q, plan.dimStride, kt, plan.keyStride,
          [&](int64_t row, int64_t column, Vec sum) { store(scores + row * plan.keyStride + column, sum); });
      if constexpr (kCausal) hideLaterKeys(scores, plan.keyStride, rows, seen, begin + block - firstKey);
      softmaxBlock(scores, plan.keyStride, rows, seen, firstKey == 0, rowMaximum + block, rowSum + block, correction);
      float* out = o + block * plan.dimStride;
      product<TileA::rowMajor>(rows, plan.paddedDim, seen, scores, plan.keyStride, v, plan.dimStride,
                               [&](int64_t row, int64_t column, Vec sum) {
                                 float* to = out + row * plan.dimStride + column;
                                 store(to, load(to) * correction[row] + sum);
                               });
    }
  }

  float* output = args.o + ((sample * plan.tokens + begin) * plan.heads + head) * d;
  for (int64_t row = 0; row < queries; ++row)
    unpackRows(o + row * plan.dimStride, 0, 1, d, 1.0f / rowSum[row], false, output + row * plan.heads * d, 0);
  if (args.lse != nullptr) {
    float* lse = args.lse + (sample * plan.heads + head) * plan.tokens + begin;
    for (int64_t row = 0; row < queries; ++row) lse[row] = rowMaximum[row] + std::log2(rowSum[row]);
  }
}

int64_t forwardScratchFloats(const AttentionForwardArgs& args, int threads) {
  return kAlignmentFloats + threads * ForwardPlan(args).scratchPerThread;
}

template <bool kCausal>
void forward(ThreadPool& pool, const AttentionForwardArgs& args) {
  const ForwardPlan plan(args);
  float* scratch = alignedToCacheLine(args.scratch);
  const int64_t chunks = plan.chunks(plan.units, plan.part * roundUp(plan.tokens, kLanes) * plan.headDim * 2);
  pool.parallelFor(chunks, [&](int64_t chunk, int thread) {
    float* own = scratch + thread * plan.scratchPerThread;
    for (int64_t unit = plan.units * chunk / chunks; unit < plan.units * (chunk + 1) / chunks; ++unit)
      forwardUnit<kCausal>(args, plan, unit, own);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
