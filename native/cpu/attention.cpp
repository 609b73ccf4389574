// Attention, forward and backward, one head at a time and block by block, as in FlashAttention-2 (arXiv 2307.08691):
// the scores of a block of queries against a block of keys exist only in a thread's scratch, and backward makes them
// again from the saved log-sum-exp.
//
// All products are tileProducts. Each needs one operand whose rows are Vecs; what lies the wrong way in qkv is
// transposed while it is packed, and a transposed left operand costs nothing:
//
//   forward, per key block and query block          backward
//     S  [queries, keys] = Q Kt                       P  [queries, keys] = exp(Q Kt - lse)
//     P  = exp(S - max), in place                     dS [queries, keys] = P * (dO Vt - delta)
//     O  [queries, d]    = O * correction + P V       dV [keys, d]      += transpose(P) dO
//                                                     dK [keys, d]      += transpose(dS) Q
//                                                     dQ [queries, d]    = dS K
//
// Exponentials are to the base 2: Q is packed times scale * log2(e), which makes e^(scale s) a plain 2^s.
#include "cpu/attention.h"

#include <cmath>

#include "cpu/simd.h"
#include "cpu/tile_product.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// A tile of scores (64 x 320 floats, 80 KB) and a block of keys and values (2 x 320 x d) share a 512 KB L2.
constexpr int64_t kQueryBlock = 64;
constexpr int64_t kMaxKeyBlock = 320;
// Queries for which forward holds its running output: the keys and values are packed once for all of them.
constexpr int64_t kMaxQueryPart = 512;
constexpr int64_t kMinQueryPart = 128;
// Few heads are cut until there are this many units of work, so that a large machine has something for every core.
constexpr int64_t kWantedUnits = 32;
// Multiply-adds that are worth a thread's while: about 20 microseconds.
constexpr int64_t kWorkPerChunk = 1 << 20;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t roundUp(int64_t a, int64_t multiple) { return ceilDiv(a, multiple) * multiple; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/// A row stride with room for `count` floats in whole Vecs that is an odd number of Vecs: a column of such a matrix
/// falls into all the sets of a cache, where a power of two would fall into few.
int64_t oddStride(int64_t count) { return (ceilDiv(count, kLanes) | 1) * kLanes; }

/// 2^x for x <= 127, within 1.5 ulp; 0 below -125 and for -inf; NaN stays NaN.
/// x = n + r with |r| <= 1/2; 2^r by its minimax polynomial of degree 6 (relative error 2e-9), 2^n by exponent bits.
inline Vec exp2(Vec x) {
  const float shifter = 12582912.0f + 127.0f;  // 1.5 * 2^23: rounds to the nearest integer, left in the low bits
  const Vec shifted = x + shifter;
  const Vec r = x - (shifted - shifter);
  Vec p = r * 1.5353362e-4f + 1.3398874e-3f;
  p = p * r + 9.6184369e-3f;
  p = p * r + 5.5503324e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.0f;
  return x < -125.0f ? Vec{} : p * (Vec)((IntVec)shifted << 23);
}

// What both directions derive from the sizes.
struct Sizes {
  int64_t tokens;
  int64_t heads;
  int64_t headDim;
  int64_t paddedDim;   // headDim in whole Vecs
  int64_t dimStride;   // row stride of packed [tokens, headDim] blocks
  int64_t rowStride;   // of qkv
  int64_t keyBlock;    // keys per block, whole Vecs
  int64_t keyBlocks;
  int64_t keyStride;   // row stride of [anything, keyBlock] blocks
  float scale;

  Sizes(int64_t tokens, int64_t heads, int64_t headDim)
      : tokens(tokens),
        heads(heads),
        headDim(headDim),
        paddedDim(roundUp(headDim, kLanes)),
        dimStride(oddStride(headDim)),
        rowStride(3 * heads * headDim),
        keyBlock(roundUp(ceilDiv(tokens, ceilDiv(tokens, kMaxKeyBlock)), kLanes)),
        keyBlocks(ceilDiv(tokens, keyBlock)),
        keyStride(oddStride(keyBlock)),
        scale(1.0f / std::sqrt(static_cast<float>(headDim))) {}

  int64_t chunks(int64_t units, int64_t unitWork) const {
    return ceilDiv(units, larger(1, kWorkPerChunk / larger(1, unitWork)));
  }
};

float* alignedToCacheLine(float* p) {
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(p) + 63) & ~static_cast<uintptr_t>(63));
}
constexpr int64_t kAlignmentFloats = 16;

/// to[r, c] = factor * from[r, c], with zeros in the columns [columns, padded).
void packRows(const float* from, int64_t fromStride, int64_t rows, int64_t columns, int64_t padded, float factor,
              float* to, int64_t toStride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from + r * fromStride;
    float* out = to + r * toStride;
    for (int64_t c = 0; c < columns; ++c) out[c] = in[c] * factor;
    for (int64_t c = columns; c < padded; ++c) out[c] = 0.0f;
  }
}

/// to[c, r] = from[r, c], with zeros in the columns [rows, padded) of `to`. In squares of four.
void packTransposed(const float* from, int64_t fromStride, int64_t rows, int64_t columns, int64_t padded, float* to,
                    int64_t toStride) {
  typedef float Quad __attribute__((vector_size(16)));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float* in = from + r * fromStride;
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      Quad row[4];
      for (int i = 0; i < 4; ++i) std::memcpy(&row[i], in + i * fromStride + c, sizeof(Quad));
      const Quad low01 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
      const Quad low23 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
      const Quad high01 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
      const Quad high23 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
      const Quad column[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                              __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                              __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                              __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
      for (int i = 0; i < 4; ++i) std::memcpy(to + (c + i) * toStride + r, &column[i], sizeof(Quad));
    }
    for (; c < columns; ++c)
      for (int i = 0; i < 4; ++i) to[c * toStride + r + i] = in[i * fromStride + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * toStride + r] = from[r * fromStride + c];
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t i = rows; i < padded; ++i) to[c * toStride + i] = 0.0f;
}

/// to[r, c] = factor * from[r, c], or += with `add`.
void unpackRows(const float* from, int64_t fromStride, int64_t rows, int64_t columns, float factor, bool add, float* to,
                int64_t toStride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = from + r * fromStride;
    float* out = to + r * toStride;
    if (add)
      for (int64_t c = 0; c < columns; ++c) out[c] += factor * in[c];
    else
      for (int64_t c = 0; c < columns; ++c) out[c] = factor * in[c];
  }
}

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

void clear(float* p, int64_t count) { std::memset(p, 0, sizeof(float) * static_cast<size_t>(count)); }

// A unit of work is a part of one head's queries against all of its keys.
struct ForwardPlan : Sizes {
  int64_t parts;
  int64_t part;  // queries in a part; the last may have fewer
  int64_t units;
  int64_t scratchPerThread;

  explicit ForwardPlan(const AttentionForwardArgs& a) : Sizes(a.tokens, a.heads, a.headDim) {
    const int64_t allHeads = a.batch * a.heads;
    const int64_t wanted = smaller(ceilDiv(kWantedUnits, larger(1, allHeads)), ceilDiv(tokens, kMinQueryPart));
    part = ceilDiv(tokens, larger(ceilDiv(tokens, kMaxQueryPart), wanted));
    parts = ceilDiv(tokens, part);
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
  for (int64_t firstKey = 0; firstKey < plan.tokens; firstKey += plan.keyBlock) {
    const int64_t keys = smaller(plan.keyBlock, plan.tokens - firstKey);
    const int64_t paddedKeys = roundUp(keys, kLanes);
    const float* k = qkv + firstKey * plan.rowStride + plan.heads * d;
    packTransposed(k, plan.rowStride, keys, d, paddedKeys, kt, plan.keyStride);
    packRows(k + plan.heads * d, plan.rowStride, keys, d, plan.paddedDim, 1.0f, v, plan.dimStride);
    for (int64_t block = 0; block < queries; block += kQueryBlock) {
      const int64_t rows = smaller(kQueryBlock, queries - block);
      packRows(qkv + (begin + block) * plan.rowStride, plan.rowStride, rows, d, d, plan.scale * kLog2E, q,
               plan.dimStride);
      product<TileA::rowMajor>(
          rows, paddedKeys, d, q, plan.dimStride, kt, plan.keyStride,
          [&](int64_t row, int64_t column, Vec sum) { store(scores + row * plan.keyStride + column, sum); });
      softmaxBlock(scores, plan.keyStride, rows, keys, firstKey == 0, rowMaximum + block, rowSum + block, correction);
      float* out = o + block * plan.dimStride;
      product<TileA::rowMajor>(rows, plan.paddedDim, keys, scores, plan.keyStride, v, plan.dimStride,
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
    for (int64_t row = 0; row < queries; ++row) lse[row] = rowMaximum[row] * kLn2 + std::log(rowSum[row]);
  }
}

int64_t forwardScratchFloats(const AttentionForwardArgs& args, int threads) {
  return kAlignmentFloats + threads * ForwardPlan(args).scratchPerThread;
}

void forward(ThreadPool& pool, const AttentionForwardArgs& args) {
  const ForwardPlan plan(args);
  float* scratch = alignedToCacheLine(args.scratch);
  const int64_t chunks = plan.chunks(plan.units, plan.part * roundUp(plan.tokens, kLanes) * plan.headDim * 2);
  pool.parallelFor(chunks, [&](int64_t chunk, int thread) {
    float* own = scratch + thread * plan.scratchPerThread;
    for (int64_t unit = plan.units * chunk / chunks; unit < plan.units * (chunk + 1) / chunks; ++unit)
      forwardUnit(args, plan, unit, own);
  });
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
        parts(smaller(keyBlocks, ceilDiv(kWantedUnits, larger(1, allHeads)))),
        units(allHeads * parts),
        scratchPerThread(roundUp(2 * headDim * keyStride            // Kt, Vt
                                     + 3 * keyBlock * dimStride     // K, dK, dV
                                     + 3 * kQueryBlock * dimStride  // Q, dO, dQ
                                     + 2 * kQueryBlock * keyStride  // P, dS
                                     + 2 * kQueryBlock,             // lse, delta
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
  float* lse = ds + kQueryBlock * keyStride;
  float* delta = lse + kQueryBlock;

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
      for (int64_t row = 0; row < queries; ++row)
        lse[row] = args.lse[headIndex * plan.tokens + firstQuery + row] * kLog2E;

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
  const int64_t partKeys = ceilDiv(plan.keyBlocks, plan.parts) * plan.keyBlock;
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

namespace repa::cpu {

template <>
const AttentionKernels& attentionKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr AttentionKernels table = {REPA_LEVEL::forwardScratchFloats, REPA_LEVEL::forward,
                                             REPA_LEVEL::backwardScratchFloats, REPA_LEVEL::backward};
  return table;
}

}  // namespace repa::cpu
