// Attention, backward: one part of a head's keys at a time, the probabilities made again from the saved log-sum-exp.
#pragma once

#include "core/divide_up.h"
#include "cpu/attention.h"
#include "cpu/attention_blocks.h"
#include "cpu/tile_product.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// delta = sum of dO * o over d, summed in order as product sums dP = dO Vt: where softmax has picked one key, o is
/// that key's v, and dP - delta is 0 and not the difference of two roundings. `rows` chains run side by side.
template <int rows>
void deltaOfRows(const float* dO, int64_t dOStride, const float* o, int64_t oStride, int64_t headDim, float* delta) {
  float sum[rows] = {};
  for (int64_t c = 0; c < headDim; ++c)
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row)
#ifdef __FP_FAST_FMAF
      // Said outright: left to itself, GCC would split the FMA into a Vec of products and a chain of sums.
      sum[row] = __builtin_fmaf(dO[row * dOStride + c], o[row * oStride + c], sum[row]);
#else
      sum[row] += dO[row * dOStride + c] * o[row * oStride + c];
#endif
  for (int row = 0; row < rows; ++row) delta[row] = sum[row];
}

// A unit of work is a part of one head's key blocks against all of its queries: it finishes their dK and dV, and its
// share of dQ. Only few heads with several key blocks have more than one part. The first part's share of dQ goes to
// dqkv itself, the others' to scratch, and a second pass adds them in order.
struct BackwardPlan : Sizes {
  int64_t allHeads;
  int64_t parts;
  int64_t units;
  int64_t scratchPerThread;
  int64_t sharesOfDq;  // floats, behind the threads' scratch: [parts - 1, B * H, T, d]

  explicit BackwardPlan(const AttentionBackwardArgs& a)
      : Sizes(a.tokens, a.heads, a.headDim),
        allHeads(a.batch * a.heads),
        parts(smaller(keyBlocks, divideUp(kWantedUnits, larger(1, allHeads)))),
        units(allHeads * parts),
        scratchPerThread(roundUp(2 * headDim * keyStride            // Kt, Vt
                                     + 3 * keyBlock * dimStride     // K, dK, dV
                                     + 3 * kQueryBlock * dimStride  // Q, dO, dQ
                                     + 2 * kQueryBlock * keyStride  // P, dS
                                     + kQueryBlock,                 // delta
                                 kAlignmentFloats)),
        sharesOfDq((parts - 1) * allHeads * tokens * headDim) {}
};

/// The rows of P sum to one but for the rounding of lse, which is 1e-5 of P when the scores reach 300. With all keys of
/// a query in one block the sum can be had and divided out. P enters only dV = transpose(P) dO and
/// dS = P * (dP - delta), both linear in dO, so it is the rows of dO that are divided.
void renormalise(const float* p, int64_t keyStride, int64_t keys, int64_t queries, int64_t headDim, float* dO,
                 int64_t dimStride) {
  const int64_t whole = keys / kLanes * kLanes;
  for (int64_t row = 0; row < queries; ++row) {
    const float* probabilities = p + row * keyStride;
    Vec sum = loadPartial(probabilities + whole, static_cast<int>(keys - whole));
    for (int64_t c = 0; c < whole; c += kLanes) sum += load(probabilities + c);
    const float factor = 1.0f / sumLanes(sum);
    for (int64_t c = 0; c < headDim; ++c) dO[row * dimStride + c] *= factor;
  }
}

void backwardUnit(const AttentionBackwardArgs& args, const BackwardPlan& plan, int64_t unit, float* scratch,
                  float* sharesOfDq) {
  const int64_t d = plan.headDim;
  const int64_t dimStride = plan.dimStride;
  const int64_t keyStride = plan.keyStride;
  const int64_t headIndex = unit / plan.parts;
  const int64_t sample = headIndex / plan.heads;
  const int64_t head = headIndex % plan.heads;
  const int64_t part = unit % plan.parts;
  const int64_t firstBlock = plan.keyBlocks * part / plan.parts;
  const int64_t endBlock = plan.keyBlocks * (part + 1) / plan.parts;

  float* kt = scratch;
  float* vt = kt + d * keyStride;
  float* k = vt + d * keyStride;
  float* dk = k + plan.keyBlock * dimStride;
  float* dv = dk + plan.keyBlock * dimStride;
  float* q = dv + plan.keyBlock * dimStride;
  float* dO = q + kQueryBlock * dimStride;
  float* dq = dO + kQueryBlock * dimStride;
  float* p = dq + kQueryBlock * dimStride;
  float* ds = p + kQueryBlock * keyStride;
  float* delta = ds + kQueryBlock * keyStride;

  const int64_t packed = sample * plan.tokens * plan.rowStride + head * d;  // this head's queries in qkv and dqkv
  const int64_t joined = (sample * plan.tokens * plan.heads + head) * d;    // this head in o and dO
  const int64_t joinedStride = plan.heads * d;
  float* dqOut = args.dqkv + packed;
  int64_t dqStride = plan.rowStride;
  if (part > 0) {
    dqOut = sharesOfDq + ((part - 1) * plan.allHeads + headIndex) * plan.tokens * d;
    dqStride = d;
  }

  for (int64_t block = firstBlock; block < endBlock; ++block) {
    const int64_t firstKey = block * plan.keyBlock;
    const int64_t keys = smaller(plan.keyBlock, plan.tokens - firstKey);
    const int64_t paddedKeys = roundUp(keys, kLanes);
    const int64_t keyOffset = packed + firstKey * plan.rowStride + plan.heads * d;
    const int64_t valueOffset = keyOffset + plan.heads * d;
    packTransposed(args.qkv + keyOffset, plan.rowStride, keys, d, paddedKeys, kt, keyStride);
    packTransposed(args.qkv + valueOffset, plan.rowStride, keys, d, paddedKeys, vt, keyStride);
    packRows(args.qkv + keyOffset, plan.rowStride, keys, d, plan.paddedDim, 1.0f, k, dimStride);
    clear(dk, keys * dimStride);
    clear(dv, keys * dimStride);

    for (int64_t firstQuery = 0; firstQuery < plan.tokens; firstQuery += kQueryBlock) {
      const int64_t queries = smaller(kQueryBlock, plan.tokens - firstQuery);
      packRows(args.qkv + packed + firstQuery * plan.rowStride, plan.rowStride, queries, d, plan.paddedDim,
               plan.scale * kLog2E, q, dimStride);
      packRows(args.dO + joined + firstQuery * joinedStride, joinedStride, queries, d, plan.paddedDim, 1.0f, dO,
               dimStride);
      const float* lse = args.lse + headIndex * plan.tokens + firstQuery;

      product<TileA::rowMajor>(queries, paddedKeys, d, q, dimStride, kt, keyStride,
                               [&](int64_t row, int64_t column, Vec sum) {
                                 store(p + row * keyStride + column, exp2(sum - lse[row]));
                               });
      if (plan.keyBlocks == 1) renormalise(p, keyStride, keys, queries, d, dO, dimStride);
      const float* o = args.o + joined + firstQuery * joinedStride;
      int64_t row = 0;
      for (; row + 8 <= queries; row += 8)
        deltaOfRows<8>(dO + row * dimStride, dimStride, o + row * joinedStride, joinedStride, d, delta + row);
      for (; row < queries; ++row)
        deltaOfRows<1>(dO + row * dimStride, dimStride, o + row * joinedStride, joinedStride, d, delta + row);
      product<TileA::rowMajor>(queries, paddedKeys, d, dO, dimStride, vt, keyStride,
                               [&](int64_t row, int64_t column, Vec sum) {
                                 const int64_t at = row * keyStride + column;
                                 store(ds + at, load(p + at) * (sum - delta[row]));
                               });
      product<TileA::depthMajor>(keys, plan.paddedDim, queries, p, keyStride, dO, dimStride,
                                 [&](int64_t row, int64_t column, Vec sum) {
                                   float* to = dv + row * dimStride + column;
                                   store(to, load(to) + sum);
                                 });
      product<TileA::depthMajor>(keys, plan.paddedDim, queries, ds, keyStride, q, dimStride,
                                 [&](int64_t row, int64_t column, Vec sum) {
                                   float* to = dk + row * dimStride + column;
                                   store(to, load(to) + sum);
                                 });
      product<TileA::rowMajor>(
          queries, plan.paddedDim, keys, ds, keyStride, k, dimStride,
          [&](int64_t row, int64_t column, Vec sum) { store(dq + row * dimStride + column, sum); });
      unpackRows(dq, dimStride, queries, d, plan.scale, block > firstBlock, dqOut + firstQuery * dqStride, dqStride);
    }
    // q carries scale * log2(e); dK wants scale alone.
    unpackRows(dk, dimStride, keys, d, kLn2, false, args.dqkv + keyOffset, plan.rowStride);
    unpackRows(dv, dimStride, keys, d, 1.0f, false, args.dqkv + valueOffset, plan.rowStride);
  }
}

int64_t backwardScratchFloats(const AttentionBackwardArgs& args, int threads) {
  const BackwardPlan plan(args);
  return kAlignmentFloats + threads * plan.scratchPerThread + plan.sharesOfDq;
}

void backward(ThreadPool& pool, const AttentionBackwardArgs& args) {
  const BackwardPlan plan(args);
  float* scratch = alignedToCacheLine(args.scratch);
  float* sharesOfDq = scratch + pool.threads() * plan.scratchPerThread;
  const int64_t partKeys = divideUp(plan.keyBlocks, plan.parts) * plan.keyBlock;
  const int64_t chunks = plan.chunks(plan.units, plan.tokens * partKeys * plan.headDim * 5);
  pool.parallelFor(chunks, [&](int64_t chunk, int thread) {
    float* own = scratch + thread * plan.scratchPerThread;
    for (int64_t unit = plan.units * chunk / chunks; unit < plan.units * (chunk + 1) / chunks; ++unit)
      backwardUnit(args, plan, unit, own, sharesOfDq);
  });
  if (plan.parts == 1) return;
  pool.parallelFor(plan.allHeads, [&](int64_t headIndex, int) {
    const int64_t sample = headIndex / plan.heads;
    const int64_t head = headIndex % plan.heads;
    float* to = args.dqkv + sample * plan.tokens * plan.rowStride + head * plan.headDim;
    for (int64_t part = 1; part < plan.parts; ++part)
      unpackRows(sharesOfDq + ((part - 1) * plan.allHeads + headIndex) * plan.tokens * plan.headDim, plan.headDim,
                 plan.tokens, plan.headDim, 1.0f, true, to, plan.rowStride);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL
