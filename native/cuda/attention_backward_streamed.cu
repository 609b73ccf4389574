// Attention's gradient in bf16 and f16, any size: two kernels, so that each sum has one owner and needs no atomics. S and dP are made
// twice for it, 7 products instead of 5.
//
//   dQ       a CTA is 128 queries of a head (64 above 72 columns) and all keys pass by, 32 at a time. A warp owns 32 (16) of the
//            queries: S = Q Kᵀ, dP = dO Vᵀ, dS = P (dP - delta), dQ += dS K, dS going from accumulators to left operands. First of
//            all it forms delta = the sum over d of dO o, which the other kernel reads too.
//   dK, dV   a CTA is 128 (64) keys of a head and all queries pass by, 32 at a time; attention_backward_tile.cuh.
//
// What passes by does so through two stages of shared memory, the next while this one is worked on: one barrier a stage. At 72
// columns either kernel takes 56 KB and up to 255 registers of 128 threads, at 128 columns 70 KB and 228: 2 CTAs an SM.
//
// The sums of dqkv's columns, where they are wanted, come along: each kernel adds up its own part's over the rows of a CTA, over its tiles
// when they have been used.
#include "cuda/attention_backward_tile.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kPassing = kQueries;  // keys or queries that pass by at a time

template <int kColumns>
inline constexpr int kRowsOfBlock = streamedRowsOfBlock(kColumns);
template <int kColumns>
inline constexpr int kRowsOfWarp = kRowsOfBlock<kColumns> / kWarps;
template <int kColumns>
inline constexpr int kTilesOfWarp = kRowsOfWarp<kColumns> / 16;

/// Two tiles that stay, two stages of two tiles that pass by, two floats for each row that does, and a number.
template <int kColumns>
constexpr size_t sharedBytes() {
  return sizeof(bf16) * kPitch<kColumns> * 2 * (kRowsOfBlock<kColumns> + 2 * kPassing) + sizeof(float) * 4 * kPassing + sizeof(int);
}

/// The tiles of either kernel: `a` and `b` stay, of `passingA` and `passingB` there are two stages.
template <class T, int kColumns>
struct Tiles {
  T* const a;
  T* const b;

  __device__ __forceinline__ explicit Tiles(unsigned char* shared)
      : a(reinterpret_cast<T*>(shared)), b(a + kRowsOfBlock<kColumns> * kPitch<kColumns>) {}
  __device__ __forceinline__ T* passingA(int stage) const {
    return b + (kRowsOfBlock<kColumns> + stage % 2 * 2 * kPassing) * kPitch<kColumns>;
  }
  __device__ __forceinline__ T* passingB(int stage) const { return passingA(stage) + kPassing * kPitch<kColumns>; }
  __device__ __forceinline__ float* statistics(int stage) const {
    return reinterpret_cast<float*>(passingA(0) + 4 * kPassing * kPitch<kColumns>) + stage % 2 * 2 * kPassing;
  }
  __device__ __forceinline__ int* head() const { return reinterpret_cast<int*>(statistics(0) + 4 * kPassing); }
};

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 2) attentionBackwardQueriesKernel(AttentionBackward<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>, tiles = kTilesOfWarp<kColumns>, columns = kPassing / 8;
  const Tiles<T, kColumns> tile(shared);
  const int tokens = a.tokens;
  const unsigned blocks = (tokens + kRowsOfBlock<kColumns> - 1) / kRowsOfBlock<kColumns>;
  const Head at(blockIdx.x / blocks, a.heads);
  const int firstOfBlock = static_cast<int>(blockIdx.x % blocks) * kRowsOfBlock<kColumns>;
  const auto load = [&](T* to, HeadRows<const T> head, int first, int count) {
    loadRows<kColumns>(to, head, first, count, tokens, a.headDim, a.aligned, threadIdx.x, kThreads);
  };
  const auto loadStage = [&](int stage) {
    load(tile.passingA(stage), headOfQkv(a.qkv, at, kKey, tokens, a.heads, a.headDim), kPassing * stage, kPassing);
    load(tile.passingB(stage), headOfQkv(a.qkv, at, kValue, tokens, a.heads, a.headDim), kPassing * stage, kPassing);
    cpAsyncCommit();
  };
  load(tile.a, headOfQkv(a.qkv, at, kQuery, tokens, a.heads, a.headDim), firstOfBlock, kRowsOfBlock<kColumns>);
  load(tile.b, headOfOutput(a.dO, at, tokens, a.heads, a.headDim), firstOfBlock, kRowsOfBlock<kColumns>);
  loadStage(0);

  const int first = firstOfBlock + kRowsOfWarp<kColumns> * warpId();
  const bool some = first < tokens;  // the same in the whole warp
  const T* const q = tile.a + (first - firstOfBlock) * pitch;
  const T* const dO = tile.b + (first - firstOfBlock) * pitch;
  const float c = a.scaleLog2;
  float lse[tiles][2], delta[tiles][2], dQ[tiles][kColumns / 8][4] = {};
#pragma unroll 1
  for (int stage = 0; kPassing * stage < tokens; ++stage) {
    cpAsyncWait<0>();
    __syncthreads();  // this stage has come, and nobody reads the other one any more
    if (kPassing * (stage + 1) < tokens) loadStage(stage + 1);
    if (!some) continue;
    if (stage == 0) {
      const HeadRows<const T> o = headOfOutput(a.o, at, tokens, a.heads, a.headDim);
#pragma unroll
      for (int i = 0; i < tiles; ++i) {
        // Two lanes a row.
        const int row = 16 * i + laneId() / 2;
        float sum = 0.0f;
        if (first + row < tokens) {
          const T* const gradient = dO + row * pitch;
          const T* const output = o.row(first + row);
          if (a.aligned) {
            for (int column = laneId() % 2 * 8; column < a.headDim; column += 16)
              sum += dotOfEight<T>(*reinterpret_cast<const uint4*>(gradient + column), loadGlobalReadOnly(output + column));
          } else {
            for (int column = laneId() % 2; column < a.headDim; column += 2) sum += toFloat(gradient[column]) * toFloat(output[column]);
          }
        }
        sum += __shfl_xor_sync(kAll, sum, 1);
        if (laneId() % 2 == 0 && first + row < tokens) a.delta[int64_t{at.index} * tokens + first + row] = sum;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int ownRow = laneId() / 4 + 8 * half;
          delta[i][half] = __shfl_sync(kAll, sum, 2 * ownRow);
          const int query = first + 16 * i + ownRow;
          lse[i][half] = query < tokens ? a.lse[int64_t{at.index} * tokens + query] : INFINITY;
        }
      }
    }
    const T* const k = tile.passingA(stage);
    float p[tiles][columns][4] = {}, dP[tiles][columns][4] = {};
    multiplyByRows<T, kColumns>(p, q, k);
    multiplyByRows<T, kColumns>(dP, dO, tile.passingB(stage));
    const int keys = tokens - kPassing * stage;
#pragma unroll
    for (int i = 0; i < tiles; ++i)
#pragma unroll
      for (int column = 0; column < columns; ++column)
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          p[i][column][r] = exp2Approx(p[i][column][r] * c - lse[i][r / 2]) * (dP[i][column][r] - delta[i][r / 2]);
          if (8 * column + laneId() % 4 * 2 + r % 2 >= keys) p[i][column][r] = 0.0f;
        }
#pragma unroll
    for (int step = 0; step < kPassing / 16; ++step) {
      uint32_t dS[tiles][4];
#pragma unroll
      for (int i = 0; i < tiles; ++i) roundToLeft<T>(dS[i], p[i][2 * step], p[i][2 * step + 1]);
      multiplyRows<T, kColumns>(dQ, dS, k + 16 * step * pitch);
    }
  }
  if (some) {
    const float factor[2] = {a.scale, a.scale};
#pragma unroll
    for (int i = 0; i < tiles; ++i)
      storeRows(dQ[i], factor, headOfQkv(a.dqkv, at, kQuery, tokens, a.heads, a.headDim), first + 16 * i, tokens, a.headDim, a.aligned);
  }
  if (!a.columnSums) return;
  float* const sums = reinterpret_cast<float*>(shared);
  __syncthreads();  // nobody reads the tiles any more
  sumColumns(dQ, a.scale, [&](int warp, int column, float sum) { sums[warp * kColumns + column] = sum; });
  __syncthreads();
  if (const int column = threadIdx.x; column < a.headDim)
    storeColumnSum(a, at, int64_t{at.sample} * blocks + blockIdx.x % blocks, kQuery, column, a.headDim,
                   sumOfWarps<kWarps>(sums + column, kColumns));
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 2) attentionBackwardKeysKernel(AttentionBackward<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  const Tiles<T, kColumns> tile(shared);
  const int tokens = a.tokens;
  const unsigned blocks = (tokens + kRowsOfBlock<kColumns> - 1) / kRowsOfBlock<kColumns>;
  // The head's number lies in shared memory: dK and dV leave no register for what lives as long as they do.
  if (threadIdx.x == 0) *tile.head() = static_cast<int>(blockIdx.x / blocks);
  __syncthreads();
  const int firstOfBlock = static_cast<int>(blockIdx.x % blocks) * kRowsOfBlock<kColumns>;
  const auto load = [&](T* to, HeadRows<const T> head, int first, int count) {
    loadRows<kColumns>(to, head, first, count, tokens, a.headDim, a.aligned, threadIdx.x, kThreads);
  };
  const auto loadStage = [&](int stage) {
    const Head at(*tile.head(), a.heads);
    load(tile.passingA(stage), headOfQkv(a.qkv, at, kQuery, tokens, a.heads, a.headDim), kPassing * stage, kPassing);
    load(tile.passingB(stage), headOfOutput(a.dO, at, tokens, a.heads, a.headDim), kPassing * stage, kPassing);
    if (threadIdx.x < kPassing) {
      const int query = kPassing * stage + static_cast<int>(threadIdx.x);
      const bool inside = query < tokens;
      tile.statistics(stage)[threadIdx.x] = inside ? a.lse[int64_t{at.index} * tokens + query] : INFINITY;
      tile.statistics(stage)[kPassing + threadIdx.x] = inside ? a.delta[int64_t{at.index} * tokens + query] : 0.0f;
    }
    cpAsyncCommit();
  };
  const Head at(*tile.head(), a.heads);
  load(tile.a, headOfQkv(a.qkv, at, kKey, tokens, a.heads, a.headDim), firstOfBlock, kRowsOfBlock<kColumns>);
  load(tile.b, headOfQkv(a.qkv, at, kValue, tokens, a.heads, a.headDim), firstOfBlock, kRowsOfBlock<kColumns>);
  loadStage(0);

  const int firstOfWarp = kRowsOfWarp<kColumns> * warpId(), keys = tokens - firstOfBlock - firstOfWarp;
  const T* const k = tile.a + firstOfWarp * kPitch<kColumns>;
  const T* const v = tile.b + firstOfWarp * kPitch<kColumns>;
  Keys<T, kColumns, kTilesOfWarp<kColumns>> own;
#pragma unroll 1
  for (int stage = 0; kPassing * stage < tokens; ++stage) {
    cpAsyncWait<0>();
    __syncthreads();  // this stage has come, and nobody reads the other one any more
    if (kPassing * (stage + 1) < tokens) loadStage(stage + 1);
    if (keys <= 0) continue;
    own.attend(k, v, tile.passingA(stage), tile.passingB(stage), tile.statistics(stage), tile.statistics(stage) + kPassing, a.scaleLog2,
               keys, [](int, const auto&) {});
  }
  const Head head(*tile.head(), a.heads);
  if (keys > 0) own.finish(a, head, firstOfBlock + firstOfWarp, a.headDim, a.aligned);
  if (!a.columnSums) return;
  float* const sums = reinterpret_cast<float*>(shared);
  __syncthreads();  // nobody reads the tiles any more
  own.layColumnSumsDown(a, sums, 2 * kColumns);
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * kColumns; i += kThreads)
    if (const int column = i % kColumns; column < a.headDim)
      storeColumnSum(a, head, int64_t{head.sample} * blocks + blockIdx.x % blocks, i < kColumns ? kKey : kValue, column, a.headDim,
                     sumOfWarps<kWarps>(sums + i, 2 * kColumns));
}

}  // namespace

template <class T>
void attentionBackwardStreamed(cudaStream_t stream, const AttentionBackward<T>& a) {
  const auto run = [&]<int kColumns>() {
    const int64_t blocks = (a.tokens + kRowsOfBlock<kColumns> - 1) / kRowsOfBlock<kColumns>;
    const LaunchShape shape{
        .grid = dim3(static_cast<unsigned>(a.batch * a.heads * blocks)), .block = dim3(kThreads), .sharedBytes = sharedBytes<kColumns>()};
    launch(stream, attentionBackwardQueriesKernel<T, kColumns>, shape, a);
    launch(stream, attentionBackwardKeysKernel<T, kColumns>, shape, a);
  };
  if (a.headDim <= 32) run.template operator()<32>();
  else if (a.headDim <= 64) run.template operator()<64>();
  else if (a.headDim <= 72) run.template operator()<72>();
  else if (a.headDim <= 96) run.template operator()<96>();
  else run.template operator()<128>();
}

template void attentionBackwardStreamed(cudaStream_t, const AttentionBackward<bf16>&);
template void attentionBackwardStreamed(cudaStream_t, const AttentionBackward<f16>&);

}  // namespace repa::cuda
