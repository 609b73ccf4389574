// One head at a time, with all its keys in a thread's scratch and its queries block by block, as attention (attention.cpp):
//
//   S, S* [queries, keys] = Q Kt, Q* K*t        logarithms to the base 2: Q is packed times scale * log2(e)
//   dS    [queries, keys] = 2^(S - lse) - 2^(S* - lse*), in S's place
//   dQ    [queries, d]    = dS K
//   dK    [keys, d]      += transpose(dS) Q
#include "cpu/attention_alignment.h"

#include "cpu/attention_blocks.h"
#include "cpu/tile_product.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

struct Plan {
  int64_t tokens, paddedTokens, keyStride;
  int64_t dimStride, teacherStride;  // row strides of packed [tokens, d] blocks
  int64_t perThread;                 // floats of scratch

  explicit Plan(const AttentionAlignmentArgs& a)
      : tokens(a.tokens),
        paddedTokens(roundUp(a.tokens, kLanes)),
        keyStride(oddStride(a.tokens)),
        dimStride(oddStride(a.headDim)),
        teacherStride(oddStride(a.teacherDim)),
        perThread(roundUp((a.headDim + a.teacherDim) * keyStride             // Kt, K*t
                              + 2 * tokens * dimStride                       // K, dK
                              + kQueryBlock * (2 * dimStride + teacherStride)  // Q, dQ, Q*
                              + 2 * kQueryBlock * keyStride,                 // S, S*
                          kAlignmentFloats)) {}
};

/// The logarithm to the base 2 of the sum of 2^s over the first `keys` numbers.
float log2SumExp2(const float* s, int64_t keys) {
  const int64_t whole = keys / kLanes * kLanes;
  Vec top = splat(-INFINITY);
  for (int64_t c = 0; c < whole; c += kLanes) top = maximum(load(s + c), top);
  float most = maxLanes(top);
  for (int64_t c = whole; c < keys; ++c) most = s[c] > most ? s[c] : most;
  Vec sums = {};
  for (int64_t c = 0; c < whole; c += kLanes) sums += exp2(load(s + c) - most);
  float sum = sumLanes(sums);
  for (int64_t c = whole; c < keys; ++c) sum += exp2(splat(s[c] - most))[0];
  return most + std::log2(sum);
}

/// S becomes dS; the cross-entropy of a query, to the base 2.
float differenceOfSoftmaxes(float* s, const float* teacher, int64_t keys) {
  const float lse = log2SumExp2(s, keys), lseOfTeacher = log2SumExp2(teacher, keys);
  Vec crosses = {};
  float cross = 0;
  const int64_t whole = keys / kLanes * kLanes;
  for (int64_t c = 0; c < whole; c += kLanes) {
    const Vec own = load(s + c), target = exp2(load(teacher + c) - lseOfTeacher);
    crosses += target * own;
    store(s + c, exp2(own - lse) - target);
  }
  for (int64_t c = whole; c < keys; ++c) {
    const float target = exp2(splat(teacher[c] - lseOfTeacher))[0];
    cross += target * s[c];
    s[c] = exp2(splat(s[c] - lse))[0] - target;
  }
  return lse - (sumLanes(crosses) + cross);
}

/// Of one head of one sample; the sum of its queries' losses.
double alignHead(const AttentionAlignmentArgs& args, const Plan& plan, int64_t sample, int64_t head, float factor, float* scratch) {
  const int64_t d = args.headDim, e = args.teacherDim, tokens = plan.tokens;
  float* kt = scratch;
  float* teacherKt = kt + d * plan.keyStride;
  float* k = teacherKt + e * plan.keyStride;
  float* dk = k + tokens * plan.dimStride;
  float* q = dk + tokens * plan.dimStride;
  float* dq = q + kQueryBlock * plan.dimStride;
  float* teacherQ = dq + kQueryBlock * plan.dimStride;
  float* s = teacherQ + kQueryBlock * plan.teacherStride;
  float* teacherS = s + kQueryBlock * plan.keyStride;

  const int64_t stride = 3 * args.heads * d, teacherStride = 3 * args.teacherHeads * e;
  const int64_t at = sample * tokens * stride + head * d;
  const float* queries = args.qkv + at;
  const float* keys = queries + args.heads * d;
  const float* teacherQueries = args.teacher + (sample * (args.skipped + tokens) + args.skipped) * teacherStride + head * e;
  const float* teacherKeys = teacherQueries + args.teacherHeads * e;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d)), teacherScale = 1.0f / std::sqrt(static_cast<float>(e));

  packTransposed(keys, stride, tokens, d, plan.paddedTokens, kt, plan.keyStride);
  packTransposed(teacherKeys, teacherStride, tokens, e, plan.paddedTokens, teacherKt, plan.keyStride);
  const bool wanted = args.gradient != nullptr;
  const int64_t paddedDim = roundUp(d, kLanes);
  if (wanted) {
    packRows(keys, stride, tokens, d, paddedDim, 1.0f, k, plan.dimStride);
    clear(dk, tokens * plan.dimStride);
  }
  double loss = 0;
  for (int64_t first = 0; first < tokens; first += kQueryBlock) {
    const int64_t rows = smaller(kQueryBlock, tokens - first);
    packRows(queries + first * stride, stride, rows, d, paddedDim, scale * kLog2E, q, plan.dimStride);
    packRows(teacherQueries + first * teacherStride, teacherStride, rows, e, e, teacherScale * kLog2E, teacherQ, plan.teacherStride);
    product<TileA::rowMajor>(rows, plan.paddedTokens, d, q, plan.dimStride, kt, plan.keyStride,
                             [&](int64_t row, int64_t column, Vec sum) { store(s + row * plan.keyStride + column, sum); });
    product<TileA::rowMajor>(rows, plan.paddedTokens, e, teacherQ, plan.teacherStride, teacherKt, plan.keyStride,
                             [&](int64_t row, int64_t column, Vec sum) { store(teacherS + row * plan.keyStride + column, sum); });
    for (int64_t row = 0; row < rows; ++row)
      loss += double{kLn2} * differenceOfSoftmaxes(s + row * plan.keyStride, teacherS + row * plan.keyStride, tokens);
    if (!wanted) continue;
    product<TileA::rowMajor>(rows, paddedDim, tokens, s, plan.keyStride, k, plan.dimStride,
                             [&](int64_t row, int64_t column, Vec sum) { store(dq + row * plan.dimStride + column, sum); });
    unpackRows(dq, plan.dimStride, rows, d, factor * scale, false, args.gradient + at + first * stride, stride);
    product<TileA::depthMajor>(tokens, paddedDim, rows, s, plan.keyStride, q, plan.dimStride, [&](int64_t row, int64_t column, Vec sum) {
      float* to = dk + row * plan.dimStride + column;
      store(to, load(to) + sum);
    });
  }
  // q carries scale * log2(e); dK wants scale alone.
  if (wanted) unpackRows(dk, plan.dimStride, tokens, d, factor * kLn2, false, args.gradient + at + args.heads * d, stride);
  return loss;
}

/// The sums of the heads' losses, as doubles, and then the threads' own.
int64_t lossFloats(const AttentionAlignmentArgs& args) { return roundUp(2 * args.batch * args.aligned, kAlignmentFloats); }

int64_t scratchFloats(const AttentionAlignmentArgs& args, int threads) {
  return kAlignmentFloats + lossFloats(args) + threads * Plan(args).perThread;
}

void align(ThreadPool& pool, const AttentionAlignmentArgs& args) {
  const Plan plan(args);
  const int64_t heads = args.batch * args.aligned;
  float* scratch = alignedToCacheLine(args.scratch);
  double* losses = reinterpret_cast<double*>(scratch);
  float* ofThreads = scratch + lossFloats(args);
  const float factor = args.queryWeight * lossScaleOf(args.state);
  pool.parallelFor(heads, [&](int64_t index, int thread) {
    losses[index] = alignHead(args, plan, index / args.aligned, index % args.aligned, factor, ofThreads + thread * plan.perThread);
  });
  for (int64_t sample = 0; sample < args.batch; ++sample) {
    double sum = 0;
    for (int64_t head = 0; head < args.aligned; ++head) sum += losses[sample * args.aligned + head];
    args.loss[sample] = static_cast<float>(sum / static_cast<double>(args.aligned * args.tokens));
  }
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const AttentionAlignmentKernels& attentionAlignmentKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr AttentionAlignmentKernels table = {REPA_LEVEL::scratchFloats, REPA_LEVEL::align};
  return table;
}

}  // namespace repa::cpu
