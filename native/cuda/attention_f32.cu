// Attention in f32 on FMAs: the same bits as asked for, at any size. For golden vectors and for whoever trains in f32.
//
// Both products of a block, and where their operands lie: attention_f32_tile.cuh.
//
//   forward            a block is 64 queries (kRows 4) of a head; keys and values pass by 32 at a time, with a running maximum and sum;
//                      causal, those that its last query sees, of which every query has one among the first 32
//   backward, queries  a block is 32 queries (kRows 2): first over all keys for the sum of its exponentials, which corrects the rounding
//                      of lse (1e-5 of P where scores reach 300), then once more for dQ; leaves the correction and delta for
//   backward, keys     a block is 32 keys: all queries pass by, dK and dV stay in registers
//
// Without atomics every sum has one order, so results repeat to the bit.
#include "cuda/attention_f32_tile.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

// ---- Forward.

constexpr int kForwardRows = 4;
constexpr int kForwardQueries = 16 * kForwardRows;

template <int kColumns>
constexpr size_t forwardBytes() {
  return sizeof(float) * ((kForwardQueries + 2 * kKeys) * kRowPitch<kColumns> + kForwardQueries * kScorePitch);
}

template <int kColumns, bool kCausal>
__global__ void __launch_bounds__(kThreads, 3) attentionF32Kernel(AttentionForward<float> a) {
  REPA_DYNAMIC_SHARED(shared);
  float* const q = reinterpret_cast<float*>(shared);
  float* const k = q + kForwardQueries * kRowPitch<kColumns>;
  float* const v = k + kKeys * kRowPitch<kColumns>;
  float* const p = v + kKeys * kRowPitch<kColumns>;
  const int tokens = a.tokens, headDim = a.headDim;
  const unsigned blocks = (tokens + kForwardQueries - 1) / kForwardQueries;
  const Head at(blockIdx.x / blocks, a.heads);
  const int first = static_cast<int>(blockIdx.x % blocks) * kForwardQueries;
  const auto rowsOf = [&](QkvPart part) { return headOfQkv(a.qkv, at, part, tokens, a.heads, headDim); };

  loadFloatRows<kColumns>(q, rowsOf(kQuery), first, kForwardQueries, tokens, headDim, a.scaleLog2);
  float o[kForwardRows][kColumns / 32][4] = {};
  float maximum[kForwardRows], sum[kForwardRows] = {};
  for (int i = 0; i < kForwardRows; ++i) maximum[i] = -3e38f;  // not -inf, of which a row whose first scores are -inf would become NaN
  const int endOfKeys = kCausal ? min(tokens, first + kForwardQueries) : tokens;
  for (int firstKey = 0; firstKey < endOfKeys; firstKey += kKeys) {
    __syncthreads();
    loadFloatRows<kColumns>(k, rowsOf(kKey), firstKey, kKeys, tokens, headDim);
    loadFloatRows<kColumns>(v, rowsOf(kValue), firstKey, kKeys, tokens, headDim);
    __syncthreads();
    float s[kForwardRows][4] = {};
    dotRows<kColumns>(s, q, k, headDim);
#pragma unroll
    for (int i = 0; i < kForwardRows; ++i) {
      float top = maximum[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = firstKey + threadX() + 8 * j;
        if (key >= tokens || (kCausal && key > first + kForwardRows * threadY() + i)) s[i][j] = -INFINITY;
        top = fmaxf(top, s[i][j]);
      }
      for (int distance = 1; distance < 8; distance *= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, distance));
      const float correction = exp2f(maximum[i] - top);
      maximum[i] = top;
      sum[i] *= correction;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = exp2f(s[i][j] - top);
        sum[i] += s[i][j];
      }
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j)
#pragma unroll
        for (int n = 0; n < 4; ++n) o[i][j][n] *= correction;
    }
    keepScores(p, s);
    __syncwarp();  // a warp's rows of P are its own
    sumRows<kColumns>(o, p, v);
  }
  float factor[kForwardRows];
#pragma unroll
  for (int i = 0; i < kForwardRows; ++i) {
    const float total = sumOfRow(sum[i]);
    factor[i] = 1.0f / total;
    const int row = first + kForwardRows * threadY() + i;
    if (a.lse && threadX() == 0 && row < tokens) a.lse[int64_t{at.index} * tokens + row] = maximum[i] + log2f(total);
  }
  storeFloatRows<kColumns>(o, factor, headOfOutput(a.o, at, tokens, a.heads, headDim), first, tokens, headDim);
}

// ---- Backward. Queries come times scale * log2 e, so that dK = ln 2 * transpose(dS) Q.

constexpr int kBackwardRows = 2;
constexpr int kBlock = 16 * kBackwardRows;  // queries or keys of a block
static_assert(kBlock == kKeys);

template <int kColumns>
constexpr size_t backwardQueriesBytes() {
  return sizeof(float) * (4 * kBlock * kRowPitch<kColumns> + kBlock * kScorePitch + 2 * kBlock);
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads, 3) attentionBackwardQueriesF32Kernel(AttentionBackward<float> a) {
  REPA_DYNAMIC_SHARED(shared);
  float* const q = reinterpret_cast<float*>(shared);
  float* const dO = q + kBlock * kRowPitch<kColumns>;
  float* const k = dO + kBlock * kRowPitch<kColumns>;
  float* const v = k + kBlock * kRowPitch<kColumns>;
  float* const p = v + kBlock * kRowPitch<kColumns>;
  float* const factors = p + kBlock * kScorePitch;
  float* const deltas = factors + kBlock;
  const int tokens = a.tokens, headDim = a.headDim;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.heads);
  const int first = static_cast<int>(blockIdx.x % blocks) * kBlock;
  const int64_t statistics = int64_t{at.index} * tokens;
  const auto rowsOf = [&](QkvPart part) { return headOfQkv(a.qkv, at, part, tokens, a.heads, headDim); };

  loadFloatRows<kColumns>(q, rowsOf(kQuery), first, kBlock, tokens, headDim, a.scaleLog2);
  loadFloatRows<kColumns>(dO, headOfOutput(a.dO, at, tokens, a.heads, headDim), first, kBlock, tokens, headDim);
  float lse[kBackwardRows], sum[kBackwardRows] = {};
#pragma unroll
  for (int i = 0; i < kBackwardRows; ++i) {
    const int row = first + kBackwardRows * threadY() + i;
    lse[i] = row < tokens ? a.lse[statistics + row] : 0.0f;
  }
  const auto exponentials = [&](float(&s)[kBackwardRows][4], int firstKey) {
    dotRows<kColumns>(s, q, k, headDim);
#pragma unroll
    for (int i = 0; i < kBackwardRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] = firstKey + threadX() + 8 * j < tokens ? exp2f(s[i][j] - lse[i]) : 0.0f;
  };
  for (int firstKey = 0; firstKey < tokens; firstKey += kKeys) {
    __syncthreads();
    loadFloatRows<kColumns>(k, rowsOf(kKey), firstKey, kKeys, tokens, headDim);
    __syncthreads();
    float s[kBackwardRows][4] = {};
    exponentials(s, firstKey);
#pragma unroll
    for (int i = 0; i < kBackwardRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i] += s[i][j];
  }
#pragma unroll
  for (int i = 0; i < kBackwardRows; ++i) {
    const float factor = 1.0f / sumOfRow(sum[i]);
    if (threadX() == 0) factors[kBackwardRows * threadY() + i] = factor;
  }
  __syncthreads();
  // P is corrected by way of dO, in which everything is linear. Then delta, a thread a row.
  for (int i = threadIdx.x; i < kBlock * kColumns; i += kThreads)
    dO[i / kColumns * kRowPitch<kColumns> + i % kColumns] *= factors[i / kColumns];
  __syncthreads();
  if (threadIdx.x < kBlock) {
    const int row = first + static_cast<int>(threadIdx.x);
    float delta = 0.0f;
    if (row < tokens) {
      const float* o = headOfOutput(a.o, at, tokens, a.heads, headDim).row(row);
      for (int c = 0; c < headDim; ++c) delta = __fmaf_rn(dO[threadIdx.x * kRowPitch<kColumns> + c], o[c], delta);
      a.delta[statistics + row] = delta;
      a.factor[statistics + row] = factors[threadIdx.x];
    }
    deltas[threadIdx.x] = delta;
  }

  float dQ[kBackwardRows][kColumns / 32][4] = {};
  for (int firstKey = 0; firstKey < tokens; firstKey += kKeys) {
    __syncthreads();
    loadFloatRows<kColumns>(k, rowsOf(kKey), firstKey, kKeys, tokens, headDim);
    loadFloatRows<kColumns>(v, rowsOf(kValue), firstKey, kKeys, tokens, headDim);
    __syncthreads();
    float s[kBackwardRows][4] = {}, dP[kBackwardRows][4] = {};
    exponentials(s, firstKey);
    dotRows<kColumns>(dP, dO, v, headDim);
#pragma unroll
    for (int i = 0; i < kBackwardRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] *= dP[i][j] - deltas[kBackwardRows * threadY() + i];
    keepScores(p, s);
    __syncwarp();
    sumRows<kColumns>(dQ, p, k);
  }
  const float factor[kBackwardRows] = {a.scale, a.scale};
  storeFloatRows<kColumns>(dQ, factor, headOfQkv(a.dqkv, at, kQuery, tokens, a.heads, headDim), first, tokens, headDim);
}

template <int kColumns>
constexpr size_t backwardKeysBytes() {
  return sizeof(float) * (4 * kBlock * kRowPitch<kColumns> + kBlock * kScorePitch + 3 * kBlock);
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads, 3) attentionBackwardKeysF32Kernel(AttentionBackward<float> a) {
  REPA_DYNAMIC_SHARED(shared);
  float* const k = reinterpret_cast<float*>(shared);
  float* const v = k + kBlock * kRowPitch<kColumns>;
  float* const q = v + kBlock * kRowPitch<kColumns>;
  float* const dO = q + kBlock * kRowPitch<kColumns>;
  float* const p = dO + kBlock * kRowPitch<kColumns>;
  float* const lse = p + kBlock * kScorePitch;
  float* const deltas = lse + kBlock;
  float* const factors = deltas + kBlock;
  const int tokens = a.tokens, headDim = a.headDim;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.heads);
  const int first = static_cast<int>(blockIdx.x % blocks) * kBlock;
  const int64_t statistics = int64_t{at.index} * tokens;
  const auto rowsOf = [&](QkvPart part) { return headOfQkv(a.qkv, at, part, tokens, a.heads, headDim); };

  loadFloatRows<kColumns>(k, rowsOf(kKey), first, kBlock, tokens, headDim);
  loadFloatRows<kColumns>(v, rowsOf(kValue), first, kBlock, tokens, headDim);
  float dK[kBackwardRows][kColumns / 32][4] = {}, dV[kBackwardRows][kColumns / 32][4] = {};
  for (int firstQuery = 0; firstQuery < tokens; firstQuery += kBlock) {
    __syncthreads();
    if (threadIdx.x < kBlock) {
      const int row = firstQuery + static_cast<int>(threadIdx.x);
      const bool inside = row < tokens;
      lse[threadIdx.x] = inside ? a.lse[statistics + row] : INFINITY;  // P = 0 for what is no query
      deltas[threadIdx.x] = inside ? a.delta[statistics + row] : 0.0f;
      factors[threadIdx.x] = inside ? a.factor[statistics + row] : 0.0f;
    }
    loadFloatRows<kColumns>(q, rowsOf(kQuery), firstQuery, kBlock, tokens, headDim, a.scaleLog2);
    __syncthreads();
    const HeadRows<const float> rowsOfDO = headOfOutput(a.dO, at, tokens, a.heads, headDim);
    for (int i = threadIdx.x; i < kBlock * kColumns; i += kThreads) {
      const int row = i / kColumns, column = i % kColumns;
      dO[row * kRowPitch<kColumns> + column] =
          firstQuery + row < tokens && column < headDim ? rowsOfDO.row(firstQuery + row)[column] * factors[row] : 0.0f;
    }
    __syncthreads();
    float s[kBackwardRows][4] = {}, dP[kBackwardRows][4] = {};
    dotRows<kColumns>(s, k, q, headDim);
    dotRows<kColumns>(dP, v, dO, headDim);
#pragma unroll
    for (int i = 0; i < kBackwardRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] = exp2f(s[i][j] - lse[threadX() + 8 * j]);
    keepScores(p, s);
    __syncwarp();
    sumRows<kColumns>(dV, p, dO);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kBackwardRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) s[i][j] *= dP[i][j] - deltas[threadX() + 8 * j];
    keepScores(p, s);
    __syncwarp();
    sumRows<kColumns>(dK, p, q);
  }
  const float ofK[kBackwardRows] = {kLn2, kLn2}, ofV[kBackwardRows] = {1.0f, 1.0f};
  storeFloatRows<kColumns>(dK, ofK, headOfQkv(a.dqkv, at, kKey, tokens, a.heads, headDim), first, tokens, headDim);
  storeFloatRows<kColumns>(dV, ofV, headOfQkv(a.dqkv, at, kValue, tokens, a.heads, headDim), first, tokens, headDim);
}

}  // namespace

void attentionF32(cudaStream_t stream, const AttentionForward<float>& a, bool causal) {
  const auto run = [&]<int kColumns, bool kCausal = false>() {
    launch(stream, attentionF32Kernel<kColumns, kCausal>,
           {.grid = dim3(gridOf(a.batch, a.heads, a.tokens, kForwardQueries)),
            .block = dim3(kThreads),
            .sharedBytes = forwardBytes<kColumns>()},
           a);
  };
  if (!causal) withColumns(a.headDim, run);
  // Text encoders' heads are of 64: what is narrower is padded, and what is wider has one kernel.
  else if (a.headDim <= 64) run.template operator()<64, true>();
  else run.template operator()<128, true>();
}

void attentionBackwardF32(cudaStream_t stream, const AttentionBackward<float>& a) {
  const dim3 grid(gridOf(a.batch, a.heads, a.tokens, kBlock));
  withColumns(a.headDim, [&]<int kColumns>() {
    launch(stream, attentionBackwardQueriesF32Kernel<kColumns>,
           {.grid = grid, .block = dim3(kThreads), .sharedBytes = backwardQueriesBytes<kColumns>()}, a);
    launch(stream, attentionBackwardKeysF32Kernel<kColumns>,
           {.grid = grid, .block = dim3(kThreads), .sharedBytes = backwardKeysBytes<kColumns>()}, a);
  });
}

}  // namespace repa::cuda
