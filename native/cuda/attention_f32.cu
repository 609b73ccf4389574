// Attention in f32 on FMAs: the same bits as asked for, at any size. For golden vectors and for whoever trains in f32.
//
// Everything is two products of a block of 128 threads, seen as 16 x 8: thread (y, x) holds rows kRows y .. of a tile and, of its
// columns, those that suit the product.
//
//   dotRows      s[row, key] += sum over c of a[row, c] b[key, c]      keys x, x + 8, x + 16, x + 24
//   sumRows      d[row, c]   += sum over k of p[row, k] b[k, c]        columns 4 x + 32 j .. 4 x + 32 j + 3
//
// Operands lie in shared memory in rows of kColumns + 4 floats (32 + 4 for p): eight threads of neighbouring x read 16 bytes of eight
// rows each in different banks, the rows of y are one broadcast. Columns past headDim are zeros.
//
//   forward            a block is 64 queries (kRows 4) of a head; keys and values pass by 32 at a time, with a running maximum and sum
//   backward, queries  a block is 32 queries (kRows 2): first over all keys for the sum of its exponentials, which corrects the rounding
//                      of lse (1e-5 of P where scores reach 300), then once more for dQ; leaves the correction and delta for
//   backward, keys     a block is 32 keys: all queries pass by, dK and dV stay in registers
//
// Without atomics every sum has one order, so results repeat to the bit.
#include "cuda/attention_arguments.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kThreads = 128;
constexpr int kKeys = 32;  // keys, or in the backward pass over keys, queries, that pass by at a time

template <int kColumns>
inline constexpr int kRowPitch = kColumns + 4;
constexpr int kScorePitch = kKeys + 4;

__device__ __forceinline__ int threadX() { return static_cast<int>(threadIdx.x % 8); }
__device__ __forceinline__ int threadY() { return static_cast<int>(threadIdx.x / 8); }

/// Rows [first, first + count) of a head, times `factor`, to a tile; zeros past the tokens and past headDim.
template <int kColumns>
__device__ __forceinline__ void loadFloatRows(float* tile, HeadRows<const float> head, int first, int count, int tokens, int headDim,
                                              float factor = 1.0f) {
  for (int i = threadIdx.x; i < count * kColumns; i += kThreads) {
    const int row = i / kColumns, column = i % kColumns;
    tile[row * kRowPitch<kColumns> + column] = first + row < tokens && column < headDim ? head.row(first + row)[column] * factor : 0.0f;
  }
}

__device__ __forceinline__ float4 loadFour(const float* from) { return *reinterpret_cast<const float4*>(from); }

/// In the order of the columns, so that where softmax has picked one key the sum of dO * v here and of dO * o in rowDelta agree.
template <int kColumns, int kRows>
__device__ __forceinline__ void dotRows(float (&s)[kRows][4], const float* a, const float* b, int headDim) {
  const float* rows = a + kRows * threadY() * kRowPitch<kColumns>;
  const float* keys = b + threadX() * kRowPitch<kColumns>;
#pragma unroll 1
  for (int c = 0; c < headDim; c += 4) {
    float4 key[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) key[j] = loadFour(keys + 8 * j * kRowPitch<kColumns> + c);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 row = loadFour(rows + i * kRowPitch<kColumns> + c);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = __fmaf_rn(row.x, key[j].x, s[i][j]);
        s[i][j] = __fmaf_rn(row.y, key[j].y, s[i][j]);
        s[i][j] = __fmaf_rn(row.z, key[j].z, s[i][j]);
        s[i][j] = __fmaf_rn(row.w, key[j].w, s[i][j]);
      }
    }
  }
}

template <int kColumns, int kRows>
__device__ __forceinline__ void sumRows(float (&d)[kRows][kColumns / 32][4], const float* p, const float* b) {
  const float* rows = p + kRows * threadY() * kScorePitch;
  const float* columns = b + 4 * threadX();
#pragma unroll 1
  for (int k = 0; k < kKeys; k += 4) {
    float4 weights[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) weights[i] = loadFour(rows + i * kScorePitch + k);
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        const float4 value = loadFour(columns + (k + n) * kRowPitch<kColumns> + 32 * j);
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float weight = n == 0 ? weights[i].x : n == 1 ? weights[i].y : n == 2 ? weights[i].z : weights[i].w;
          d[i][j][0] = __fmaf_rn(weight, value.x, d[i][j][0]);
          d[i][j][1] = __fmaf_rn(weight, value.y, d[i][j][1]);
          d[i][j][2] = __fmaf_rn(weight, value.z, d[i][j][2]);
          d[i][j][3] = __fmaf_rn(weight, value.w, d[i][j][3]);
        }
      }
  }
}

template <int kRows>
__device__ __forceinline__ void keepScores(float* p, const float (&s)[kRows][4]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) p[(kRows * threadY() + i) * kScorePitch + threadX() + 8 * j] = s[i][j];
}

/// factor[i] times the thread's rows of a result.
template <int kColumns, int kRows>
__device__ __forceinline__ void storeFloatRows(const float (&d)[kRows][kColumns / 32][4], const float (&factor)[kRows],
                                               HeadRows<float> head, int first, int tokens, int headDim) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = first + kRows * threadY() + i;
    if (row >= tokens) continue;
    float* to = head.row(row);
#pragma unroll
    for (int j = 0; j < kColumns / 32; ++j)
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int column = 4 * threadX() + 32 * j + n;
        if (column < headDim) to[column] = d[i][j][n] * factor[i];
      }
  }
}

/// Over the eight threads that share rows.
__device__ __forceinline__ float sumOfRow(float x) {
  for (int distance = 1; distance < 8; distance *= 2) x += __shfl_xor_sync(kAll, x, distance);
  return x;
}

// ---- Forward.

constexpr int kForwardRows = 4;
constexpr int kForwardQueries = 16 * kForwardRows;

template <int kColumns>
constexpr size_t forwardBytes() {
  return sizeof(float) * ((kForwardQueries + 2 * kKeys) * kRowPitch<kColumns> + kForwardQueries * kScorePitch);
}

template <int kColumns>
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
  for (int firstKey = 0; firstKey < tokens; firstKey += kKeys) {
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
        if (firstKey + threadX() + 8 * j >= tokens) s[i][j] = -INFINITY;
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
    if (a.lse && threadX() == 0 && row < tokens) a.lse[int64_t{at.index} * tokens + row] = kLn2 * (maximum[i] + log2f(total));
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
    lse[i] = row < tokens ? a.lse[statistics + row] * kLog2E : 0.0f;
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
      lse[threadIdx.x] = inside ? a.lse[statistics + row] * kLog2E : INFINITY;  // P = 0 for what is no query
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

/// Calls run<kColumns>() for the least kColumns that hold headDim.
template <class Run>
void withColumns(int headDim, Run&& run) {
  if (headDim <= 32) run.template operator()<32>();
  else if (headDim <= 64) run.template operator()<64>();
  else if (headDim <= 96) run.template operator()<96>();
  else run.template operator()<128>();
}

unsigned gridOf(int64_t batch, int heads, int tokens, int rows) {
  return static_cast<unsigned>(batch * heads * ((tokens + rows - 1) / rows));
}

}  // namespace

void attentionF32(cudaStream_t stream, const AttentionForward<float>& a) {
  withColumns(a.headDim, [&]<int kColumns>() {
    launch(stream, attentionF32Kernel<kColumns>,
           {.grid = dim3(gridOf(a.batch, a.heads, a.tokens, kForwardQueries)),
            .block = dim3(kThreads),
            .sharedBytes = forwardBytes<kColumns>()},
           a);
  });
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
