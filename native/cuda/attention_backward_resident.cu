// Attention's gradient in bf16 and f16 with a whole head in shared memory: for 129 to 256 tokens and head_dim 64 or 72.
//
//   dV = Pᵀ dO     dS = P (dO Vᵀ - delta)     dK = scale dSᵀ Q     dQ = scale dS K     delta = the sum over d of dO o
//
// A CTA of 8 warps is one head of one sample after another; nothing crosses CTAs, so there are no atomics and results repeat to the
// bit. Q, K, V, dO are read from global memory once, o once, and dqkv is written once: 8 tensors, the least there is.
//
//   keys      warp 0: 32 | warp 1: 32 | ... | warp 7: 32     dK and dV of its keys stay in the warp's registers: 144 at 72 columns
//   queries   64 | 64 | 64 | 64                              for each 64, twice 32 as in attention_backward_tile.cuh; then, with dS
//                                                            of all keys in shared memory, dQ of the 64 is complete
//
// dS is kept as it comes, transposed: a row of 64 queries (and 8 of padding: 144 bytes) for each key, which ldmatrix transposes
// back. For dQ, 8 warps are 4 tiles of 16 queries times 2 halves of the columns; 72 are 32 and 40, and the halves change places
// from one 64 to the next.
//
// Shared memory, of 227 KB:
//   K, V, Q, dO      4 * 256 rows x 144 bytes     147,456
//   dS               2 * 256 rows x 144 bytes      73,728     o lies there first, for delta
//   lse, delta       2 * 256 floats                 2,048
//   column sums      8 warps * 3 * 72 floats        6,912     230,148 with the head's index: one CTA an SM
//
// Registers, of 255 with 256 threads (sm_90a): 255 at 72 columns, 251 at 64. Chips with less shared memory stream instead.
//
// With two dS there is one barrier for 64 queries: who has finished its dQ goes on. When a block's rows of Q and dO have been used for
// the last time, the next head's begin to arrive in their place: of what a head reads, that leaves K, V and o to be waited for.
//
// The sums of dqkv's columns come along where the qkv Linear's bias wants its gradient. A warp adds up the rows that it has in registers
// and lays the sums down in a row of its own, dQ's after every 64 queries; at the head's end they are added up and go to scratch. That is
// some 600 shuffles a head. A pass of its own over dqkv would read it again: 453 MB a block for SiT-XL at batch 256, 137 us at 3.3 TB/s.
//
// SiT-XL at batch 256: 4096 heads on 132 SMs are 31.03 each; the grid is one CTA an SM, and 4 of them do a 32nd head.
#include <algorithm>

#include "cuda/attention_backward_tile.cuh"
#include "cuda/launch.h"
#include "cuda/resident_blocks.h"
#include "cuda/shared_memory.h"

namespace repa::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kKeyTiles = 2;
constexpr int kKeysOfWarp = 16 * kKeyTiles;
constexpr int kMostTokens = kWarps * kKeysOfWarp;
/// With no more, half of the warps would have no keys.
constexpr int kLeastTokens = kMostTokens / 2 + 1;
constexpr int kBlock = 64;              // queries between two barriers
constexpr int kScorePitch = kBlock + 8;  // elements between dS of two keys
template <int kColumns>
constexpr int kSumPitch = 3 * kColumns;  // floats between the column sums, of dQ, dK and dV, of two warps

/// Q, K, V, dO; two dS; lse and delta; the head; the column sums. The same for any number of tokens, so that every address in it is one
/// register and a constant.
template <int kColumns>
constexpr size_t sharedBytes() {
  return kMostTokens * (sizeof(bf16) * (4 * kPitch<kColumns> + 2 * kScorePitch) + 2 * sizeof(float)) + sizeof(int) +
         kWarps * kSumPitch<kColumns> * sizeof(float);
}

/// dQ of 16 queries, columns [column, column + 8 kTiles): `dS` points at their column of the first key. The warp's column sums of dQ begin,
/// or with `more` go on, in its row of `sums`.
template <int kColumns, int column, int kTiles, class T>
__device__ __forceinline__ void queryGradient(const T* dS, const T* k, const AttentionBackward<T>& a, const Head& at, int first, float* sums,
                                              bool more) {
  float dQ[1][kTiles][4] = {};
  const T* row = dS + (laneId() / 16 * 8 + laneId() % 8) * kScorePitch + laneId() / 8 % 2 * 8;
#pragma unroll 2
  for (int key = 0; key < a.tokens; key += 16) {
    uint32_t left[1][4];
    ldmatrixTransposed(left[0], row + key * kScorePitch);
    multiplyRows<T, kColumns>(dQ, left, k + key * kPitch<kColumns>, column);
  }
  const float factor[2] = {a.scale, a.scale};
  storeRows(dQ[0], factor, headOfQkv(a.dqkv, at, kQuery, a.tokens, a.heads, kColumns), first, a.tokens, kColumns, true, column);
  if (a.columnSums)
    sumColumns(dQ, a.scale, [&](int warp, int i, float sum) {
      float* const to = sums + warp * kSumPitch<kColumns> + column + i;
      *to = more ? *to + sum : sum;
    });
}

template <class T, int kColumns>
__global__ void __launch_bounds__(32 * kWarps, 1) attentionBackwardResidentKernel(AttentionBackward<T> a, int allHeads) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>;
  constexpr int rows = kMostTokens;
  const int tokens = a.tokens;
  T* const k = reinterpret_cast<T*>(shared);
  T* const v = k + rows * pitch;
  T* const q = v + rows * pitch;
  T* const dO = q + rows * pitch;
  T* const staging = dO + rows * pitch;
  float* const lse = reinterpret_cast<float*>(staging + 2 * rows * kScorePitch);
  float* const delta = lse + rows;
  // Which of the B H heads this is. In shared memory, because dK and dV leave no register for what lives as long as they do.
  int* const current = reinterpret_cast<int*>(delta + rows);
  float* const columnSums = reinterpret_cast<float*>(current + 1);  // by warp, of dQ, dK and dV

  const auto load = [&](T* tile, HeadRows<const T> head, int first, int count) {
    loadRows<kColumns, true>(tile + first * pitch, head, first, count, tokens, kColumns, true, threadIdx.x, 32 * kWarps);
  };
  const auto loadQueries = [&](const Head& at, int first, int count) {
    load(q, headOfQkv(a.qkv, at, kQuery, tokens, a.heads, kColumns), first, count);
    load(dO, headOfOutput(a.dO, at, tokens, a.heads, kColumns), first, count);
  };

  loadQueries(Head(blockIdx.x, a.heads), 0, rows);
  if (threadIdx.x == 0) *current = blockIdx.x;
  __syncthreads();
#pragma unroll 1
  while (*current < allHeads) {
    const int row = threadIdx.x;
    {
      const Head at(*current, a.heads);
      load(staging, headOfOutput(a.o, at, tokens, a.heads, kColumns), 0, rows);
      load(k, headOfQkv(a.qkv, at, kKey, tokens, a.heads, kColumns), 0, rows);
      load(v, headOfQkv(a.qkv, at, kValue, tokens, a.heads, kColumns), 0, rows);
      lse[row] = row < tokens ? a.lse[int64_t{at.index} * tokens + row] : INFINITY;
    }
    cpAsyncCommit();
    cpAsyncWait<0>();
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int column = 0; column < kColumns; column += 8)
      sum += dotOfEight<T>(*reinterpret_cast<const uint4*>(dO + row * pitch + column),
                           *reinterpret_cast<const uint4*>(staging + row * pitch + column));
    delta[row] = sum;
    __syncthreads();

    Keys<T, kColumns, kKeyTiles> own;
    const int firstKey = kKeysOfWarp * warpId(), keys = tokens - firstKey;
#pragma unroll 1
    for (int block = 0; kBlock * block < tokens; ++block) {
      T* const dS = staging + block % 2 * rows * kScorePitch;
      if (keys > 0) {
#pragma unroll 1
        for (int part = 0; part < kBlock; part += kQueries) {
          const int first = kBlock * block + part;
          if (first >= tokens) break;  // their dS stays what it is: it counts for nobody else's dQ
          T* const to = dS + (firstKey + laneId() / 4) * kScorePitch + part + laneId() % 4 * 2;
          own.attend(k + firstKey * pitch, v + firstKey * pitch, q + first * pitch, dO + first * pitch, lse + first, delta + first,
                     a.scaleLog2, keys, [&](int step, const uint32_t (&dSOfStep)[kKeyTiles][4]) {
#pragma unroll
                       for (int i = 0; i < kKeyTiles; ++i)
#pragma unroll
                         for (int r = 0; r < 4; ++r)
                           *reinterpret_cast<uint32_t*>(to + (16 * i + 8 * (r % 2)) * kScorePitch + 16 * step + 8 * (r / 2)) =
                               dSOfStep[i][r];
                     });
        }
      }
      __syncthreads();
      if (const unsigned next = *current + gridDim.x; next < static_cast<unsigned>(allHeads))
        loadQueries(Head(next, a.heads), kBlock * block, kBlock);
      const int tile = warpId() % 4, first = kBlock * block + 16 * tile;
      if (first < tokens) {
        const Head at(*current, a.heads);
        const bool more = block >= 2;  // the first two, which no head here lacks, are one for each half of the columns
        if ((warpId() / 4 + block) % 2 == 0) queryGradient<kColumns, 0, 4>(dS + 16 * tile, k, a, at, first, columnSums, more);
        else queryGradient<kColumns, 32, kColumns / 8 - 4>(dS + 16 * tile, k, a, at, first, columnSums, more);
      }
    }
    const Head at(*current, a.heads);
    if (keys > 0) own.finish(a, at, firstKey, kColumns, true);
    if (a.columnSums) own.layColumnSumsDown(a, columnSums + kColumns, kSumPitch<kColumns>);
    __syncthreads();  // nobody reads K, dS, lse any more
    if (threadIdx.x == 0) *current += gridDim.x;
    if (const int i = readThread(); a.columnSums && i < kSumPitch<kColumns>)
      storeColumnSum(a, at, at.sample, static_cast<QkvPart>(i / kColumns), i % kColumns, kColumns,
                     sumOfWarps<kWarps>(columnSums + i, kSumPitch<kColumns>));
    __syncthreads();
  }
}

}  // namespace

template <class T>
bool attentionBackwardResident(cudaStream_t stream, const AttentionBackward<T>& a) {
  if (!a.aligned || a.tokens < kLeastTokens || a.tokens > kMostTokens) return false;
  const auto run = [&]<int kColumns>() {
    constexpr size_t bytes = sharedBytes<kColumns>();
    if (!fitsIntoSharedMemory(bytes)) return false;
    const int allHeads = static_cast<int>(a.batch * a.heads);
    launch(stream, attentionBackwardResidentKernel<T, kColumns>,
           {.grid = dim3(static_cast<unsigned>(std::min(allHeads, residentBlocks()))),
            .block = dim3(32 * kWarps),
            .sharedBytes = bytes},
           a, allHeads);
    return true;
  };
  switch (a.headDim) {
    case 64: return run.template operator()<64>();
    case 72: return run.template operator()<72>();
    default: return false;
  }
}

template bool attentionBackwardResident(cudaStream_t, const AttentionBackward<bf16>&);
template bool attentionBackwardResident(cudaStream_t, const AttentionBackward<f16>&);

}  // namespace repa::cuda
