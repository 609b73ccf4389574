// Attention's gradient on Hopper in bf16 and f16: TMA brings whole heads, wgmma multiplies. For 129 to 256 tokens and head_dim 64 or 72.
//
// As in attention_backward_resident.cu a block of two warpgroups stays for head after head with Q, K, V and dO in shared memory, nothing
// crosses blocks, and keys stand in the rows, so that P and dS are left operands as they come out of the products before:
//
//   warpgroup 0: keys 0-127      warpgroup 1: keys 128-255      dK and dV stay in registers: 144 a thread at 72 columns
//
//   for every 64 queries, for each 64 of the keys:
//     Sᵀ = K Qᵀ     dPᵀ = V dOᵀ              64 x 64; dP runs under P's exponentials
//     Pᵀ = 2^(c Sᵀ - lse)                    dV += Pᵀ dO, which runs under dS
//     dSᵀ = Pᵀ (dPᵀ - delta)                 dK += dSᵀ Q; to shared memory too, by stmatrix
//   then one of the warpgroups, in turns:    dQ = scale dS K of the 64 queries, while the other goes on to the next
//
// dS of 64 queries: for every 8 of them, key after key, 16 bytes: an MN-major left operand. There are two; a barrier says that both
// warpgroups have laid theirs down, and because they take turns it also says that the dS before last has been read.
//
// The next head comes in as this one is done with: a block of Q and dO after the next block's barrier; V, o, lse and the rest of Q and dO
// after the last block's; K when the last dQ has read it. delta, which needs all of o, and the column sums are made as in
// attention_backward_resident.cu. All copies of a head count on one barrier.
//
// Shared memory at 72 columns: K, V, Q, dO 147,456 bytes; dS, where o lies at first, 73,728; zeros 1,024; lse, delta 2,048; column sums
// 6,912: 231,176 with the barrier, one block an SM. Registers, of 255: 255 at 72 columns, 243 at 64.
//
// Heads of 72 columns can come by cp.async too, all threads of a warpgroup copying where one asks the TMA: why, attention_forward_sm90.cu says.
// Units are a row further apart then: 232,040 bytes. No chip has timed it, and it runs where REPA_ATTENTION=wgmma asks for it.
//
// On an H200, bf16, with column sums, medians of the variants that this was made of: SiT-B/2 at batch 256 (3072 heads, 64 columns) 445 us,
// 289 TFLOP/s; SiT-XL/2 (4096 heads, 72 columns) 905 us, 213 TFLOP/s. attention_backward_resident.cu takes 681 and 1090 us, cuDNN by PyTorch
// 2.11 864 and 1350. At 72 columns a variant that copied nothing took 723 us.
#include <algorithm>

#include "cuda/attention_backward_tile.cuh"
#include "cuda/attention_tile_sm90.cuh"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kWarpgroups = 2, kThreads = kWarpgroups * kWarpgroup, kWarps = kThreads / 32;
constexpr int kMostTokens = 256, kLeastTokens = 129;
constexpr int kBlock = 64;                    // queries, and keys of a warpgroup at a time
constexpr int kKeysOfWarpgroup = kMostTokens / kWarpgroups, kKeyTiles = kKeysOfWarpgroup / kBlock;
constexpr int kScorePitch = 8 * kMostTokens;  // elements between dS of eight queries and of the next
// Named barriers: dS is there, one for each of the two; all are at the head's end or beginning; K has been read; a warpgroup has read dS,
// one for each.
constexpr int kScoreBarrier = 1, kHeadBarrier = 3, kKeysBarrier = 4, kGradientBarrier = 5;
template <int kColumns>
constexpr int kSumPitch = 3 * kColumns;  // floats between the column sums, of dQ, dK and dV, of two warps

/// Elements of what lies in shared memory; floats and the barrier follow.
template <int kColumns, bool kByTma>
struct Sizes {
  static constexpr int pitchRows = kByTma ? kMostTokens : kMostTokens + 1;  // between units
  static constexpr int tile = kTileElements<pitchRows, kColumns>;
  static constexpr int scores = std::max(kMostTokens * kBlock, tile);  // o lies there as well
  static constexpr int zeros = kUnit * kBlock;
  static constexpr size_t floatsAt = sizeof(bf16) * (4 * tile + 2 * scores + zeros);
  static constexpr size_t barrierAt = floatsAt + sizeof(float) * (2 * kMostTokens + kWarps * kSumPitch<kColumns>);
  static constexpr size_t bytes = barrierAt + sizeof(uint64_t);
  static constexpr unsigned headBytes = sizeof(bf16) * 5 * tile;
  static_assert(bytes <= 227 * 1024);
  static_assert(kByTma || !kInLines<kColumns>, "lines are swizzled by the TMA");
};

/// Whole tiles, and blocks of kBlock rows; where the TMA brings them.
struct Maps {
  CUtensorMap qkv, o, dO, qkvBlock, dOBlock;
};

template <class T, int kColumns, bool kByTma>
__global__ void __launch_bounds__(kThreads, 1) attentionBackwardSm90Kernel(const __grid_constant__ Maps maps, AttentionBackward<T> a, int allHeads) {
  using Shared = Sizes<kColumns, kByTma>;
  constexpr int kRows = kMostTokens, kPitchRows = Shared::pitchRows;
  REPA_DYNAMIC_SHARED(shared);
  T* const k = reinterpret_cast<T*>(shared);
  T* const v = k + Shared::tile;
  T* const q = v + Shared::tile;
  T* const dO = q + Shared::tile;
  T* const staging = dO + Shared::tile;
  T* const zeros = staging + 2 * Shared::scores;
  float* const lse = reinterpret_cast<float*>(shared + Shared::floatsAt);
  float* const delta = lse + kRows;
  float* const columnSums = delta + kRows;
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + Shared::barrierAt);
  const int tokens = a.tokens, blocks = (tokens + kBlock - 1) / kBlock;

  // Of the threads that call these, one asks the TMA, or all copy: `thread` of `threads`.
  const auto loadPart = [&](T* tile, int head, QkvPart part, int thread, int threads) {
    const Head at(head, a.heads);
    if constexpr (!kByTma) {
      copyUnits<kPitchRows, kColumns>(tile, headOfQkv(a.qkv, at, part, tokens, a.heads, kColumns), 0, kRows, tokens, thread, threads);
    } else if (thread == 0) {
      loadTile<kRows, kColumns>(tile, maps.qkv, full, (part * a.heads + at.head) * kColumns, at.sample);
    }
  };
  const auto loadOutput = [&](T* tile, const T* from, const CUtensorMap& map, int head, int thread, int threads) {
    const Head at(head, a.heads);
    if constexpr (!kByTma) {
      copyUnits<kPitchRows, kColumns>(tile, headOfOutput(from, at, tokens, a.heads, kColumns), 0, kRows, tokens, thread, threads);
    } else if (thread == 0) {
      loadTile<kRows, kColumns>(tile, map, full, at.head * kColumns, at.sample);
    }
  };
  const auto loadQueries = [&](int head, int first, int thread, int threads) {
    const Head at(head, a.heads);
    if constexpr (!kByTma) {
      copyUnits<kPitchRows, kColumns>(q, headOfQkv(a.qkv, at, kQuery, tokens, a.heads, kColumns), first, kBlock, tokens, thread, threads);
      copyUnits<kPitchRows, kColumns>(dO, headOfOutput(a.dO, at, tokens, a.heads, kColumns), first, kBlock, tokens, thread, threads);
    } else if (thread == 0) {
      loadBlock<kRows, kColumns>(q, maps.qkvBlock, full, at.head * kColumns, first, at.sample);
      loadBlock<kRows, kColumns>(dO, maps.dOBlock, full, at.head * kColumns, first, at.sample);
    }
  };

  if (threadIdx.x == 0) {
    mbarrierInit(full, 1);
    fenceMbarrierInit();
  }
  for (int i = threadIdx.x; i < Shared::zeros; i += kThreads) zeros[i] = T{};
  fenceProxyAsync();
  __syncthreads();
  {
    const int thread = threadIdx.x;
    if (kByTma && thread == 0) mbarrierArriveExpect(full, Shared::headBytes);
    loadPart(q, blockIdx.x, kQuery, thread, kThreads);
    loadOutput(dO, a.dO, maps.dO, blockIdx.x, thread, kThreads);
    loadPart(v, blockIdx.x, kValue, thread, kThreads);
    loadOutput(staging + Shared::scores * (blocks % 2), a.o, maps.o, blockIdx.x, thread, kThreads);
    loadPart(k, blockIdx.x, kKey, thread, kThreads);
  }
  if (static_cast<int>(threadIdx.x) < tokens) cpAsync<4>(lse + threadIdx.x, a.lse + int64_t{blockIdx.x} * tokens + threadIdx.x);
  // A copy of the code for each warpgroup: what its keys' operands are is known when it is compiled.
  const auto work = [&](auto warpgroupTag) {
    constexpr int warpgroup = decltype(warpgroupTag)::value;
    const int lane = laneId(), t = lane % 4;
    [[maybe_unused]] unsigned parity = 0;
#pragma unroll 1
    for (int head = blockIdx.x; head < allHeads; head += gridDim.x) {
      const int next = head + gridDim.x;
      {
        const int row = readThread();
        cpAsyncCommit();
        cpAsyncWait<0>();
        if constexpr (kByTma) {
          mbarrierWait(full, parity);
          parity ^= 1;
        } else {
          fenceProxyAsync();
        }
        namedBarrierSync(kHeadBarrier, kThreads);
        const T* const o = staging + Shared::scores * (blocks % 2);
        float sum = 0.0f;
#pragma unroll
        for (int unit = 0; unit < kColumns / 8; ++unit) {
          sum += dotOfEight<T>(*reinterpret_cast<const uint4*>(unitOfTile<kPitchRows, kColumns>(dO, row, unit)),
                               *reinterpret_cast<const uint4*>(unitOfTile<kPitchRows, kColumns>(o, row, unit)));
        }
        lse[row] = row < tokens ? lse[row] * kLog2E : INFINITY;
        delta[row] = row < tokens ? sum : 0.0f;
        namedBarrierSync(kHeadBarrier, kThreads);
      }

      float dK[kKeyTiles][kColumns / 2] = {}, dV[kKeyTiles][kColumns / 2] = {};
      const int firstKey = kKeysOfWarpgroup * warpgroup;
#pragma unroll 1
      for (int block = 0; block < blocks; ++block) {
        T* const scores = staging + block % 2 * Shared::scores;
        const int first = kBlock * block;
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile) {
          const int key = firstKey + kBlock * tile;
          float p[kBlock / 2], dP[kBlock / 2];
          wgmmaFence();
          multiplyTransposed<T, kPitchRows, kColumns, kBlock>(p, k, key, q, first, zeros);
          wgmmaCommit();
          multiplyTransposed<T, kPitchRows, kColumns, kBlock>(dP, v, key, dO, first, zeros);
          wgmmaCommit();
          wgmmaWait<1>();
          wgmmaHold(p);
#pragma unroll
          for (int column = 0; column < kBlock / 8; ++column) {
            const float2 logarithm = *reinterpret_cast<const float2*>(lse + first + 8 * column + 2 * t);
#pragma unroll
            for (int r = 0; r < 4; ++r)
              p[4 * column + r] = exp2Approx(p[4 * column + r] * a.scaleLog2 - (r % 2 == 0 ? logarithm.x : logarithm.y));
          }
          if (const int keys = tokens - key - 16 * (warpId() % 4); keys < 16) {
#pragma unroll
            for (int i = 0; i < kBlock / 2; ++i)
              if (lane / 4 + 8 * (i / 2 % 2) >= keys) p[i] = 0.0f;
          }
          {
            uint32_t left[kBlock / 16][4];
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) roundToLeft<T>(left[step], tilesOf(p)[2 * step], tilesOf(p)[2 * step + 1]);
            wgmmaFence();
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) wgmma<T, kColumns, Major::mn>(dV[tile], left[step], sixteenRows<kPitchRows, kColumns>(dO, first + 16 * step));
            wgmmaCommit();
          }
          T* const to = scores + lane / 16 * kScorePitch + (key + 16 * (warpId() % 4) + lane % 16) * 8;
          wgmmaWait<1>();
          wgmmaHold(dP);
#pragma unroll
          for (int column = 0; column < kBlock / 8; ++column) {
            const float2 mean = *reinterpret_cast<const float2*>(delta + first + 8 * column + 2 * t);
#pragma unroll
            for (int r = 0; r < 4; ++r) p[4 * column + r] *= dP[4 * column + r] - (r % 2 == 0 ? mean.x : mean.y);
          }
          {
            uint32_t left[kBlock / 16][4];
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) {
              roundToLeft<T>(left[step], tilesOf(p)[2 * step], tilesOf(p)[2 * step + 1]);
              stmatrix(to + 2 * step * kScorePitch, left[step]);
            }
            wgmmaFence();
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) wgmma<T, kColumns, Major::mn>(dK[tile], left[step], sixteenRows<kPitchRows, kColumns>(q, first + 16 * step));
            wgmmaCommit();
          }
          wgmmaWait<0>();
          wgmmaHold(dV[tile]);
          wgmmaHold(dK[tile]);
        }
        fenceProxyAsync();
        const bool own = block % 2 == warpgroup, last = block + 1 == blocks;
        if (own || last) namedBarrierSync(kScoreBarrier + block % 2, kThreads);
        else namedBarrierArrive(kScoreBarrier + block % 2, kThreads);
        const int thread = readThread() % kWarpgroup;
        if (own) {
          if (!last && next < allHeads && block > 0) loadQueries(next, kBlock * (block - 1), thread, kWarpgroup);
          float dQ[1][kColumns / 2];
          const MatrixDescriptor left = matrixDescriptor(scores, 128, kScorePitch * sizeof(T), Swizzle::none);
          wgmmaFence();
#pragma unroll
          for (int key = 0; key < kRows; key += 16)
            wgmma<T, kColumns, Major::mn, Major::mn>(dQ[0], advance(left, 16 * key), sixteenRows<kPitchRows, kColumns>(k, key), key > 0);
          wgmmaCommit();
          wgmmaWait<0>();
          wgmmaHold(dQ[0]);
          namedBarrierSync(kGradientBarrier + warpgroup, kWarpgroup);
          if (last) namedBarrierArrive(kKeysBarrier, kThreads);
          const Head at(head, a.heads);
          const float factor[2] = {a.scale, a.scale};
          storeRows(tilesOf(dQ[0]), factor, headOfQkv(a.dqkv, at, kQuery, tokens, a.heads, kColumns), first + 16 * (thread / 32), tokens, kColumns, true, 0, thread % 32);
          if (a.columnSums) {
            const bool more = block >= 2;
            sumColumns(tilesOf(dQ), a.scale, [&](int warp, int column, float sum) {
              float* const to = columnSums + warp * kSumPitch<kColumns> + column;
              *to = more ? *to + sum : sum;
            });
          }
        } else if (last && next < allHeads) {
          // Of the last block's dS one warpgroup makes dQ, from K; all else has been read.
          loadOutput(staging + (blocks % 2) * Shared::scores, a.o, maps.o, next, thread, kWarpgroup);
          loadPart(v, next, kValue, thread, kWarpgroup);
          for (int first = kBlock * (block - 1); first < kRows; first += kBlock) loadQueries(next, first, thread, kWarpgroup);
          for (int row = thread; row < tokens; row += kWarpgroup) cpAsync<4>(lse + row, a.lse + int64_t{next} * tokens + row);
        }
      }
      const Head at(head, a.heads);
      const float ofK[2] = {a.scale, a.scale}, ofV[2] = {1.0f, 1.0f};
#pragma unroll
      for (int tile = 0; tile < kKeyTiles; ++tile) {
        const int thread = readThread(), firstRow = firstKey + kBlock * tile + 16 * (thread / 32 % 4);
        storeRows(tilesOf(dK[tile]), ofK, headOfQkv(a.dqkv, at, kKey, tokens, a.heads, kColumns), firstRow, tokens, kColumns, true, 0, thread % 32);
        storeRows(tilesOf(dV[tile]), ofV, headOfQkv(a.dqkv, at, kValue, tokens, a.heads, kColumns), firstRow, tokens, kColumns, true, 0, thread % 32);
      }
      if (a.columnSums) {
        sumColumns(tilesOf(dK), a.scale, [&](int warp, int column, float sum) { columnSums[warp * kSumPitch<kColumns> + kColumns + column] = sum; });
        sumColumns(tilesOf(dV), 1.0f, [&](int warp, int column, float sum) { columnSums[warp * kSumPitch<kColumns> + 2 * kColumns + column] = sum; });
      }
      if (blocks % 2 == warpgroup) {
        namedBarrierSync(kKeysBarrier, kThreads);
        if (const int thread = readThread() % kWarpgroup; next < allHeads) {
          if (kByTma && thread == 0) mbarrierArriveExpect(full, Shared::headBytes);
          loadPart(k, next, kKey, thread, kWarpgroup);
        }
      }
      namedBarrierSync(kHeadBarrier, kThreads);  // nobody reads K, dS, lse any more
      if (const int i = readThread(); a.columnSums && i < kSumPitch<kColumns>)
        storeColumnSum(a, at, at.sample, static_cast<QkvPart>(i / kColumns), i % kColumns, kColumns,
                       sumOfWarps<kWarps>(columnSums + i, kSumPitch<kColumns>));
    }
  };
  if (threadIdx.x < kWarpgroup) work(std::integral_constant<int, 0>{});
  else work(std::integral_constant<int, 1>{});
}

}  // namespace

template <class T>
bool attentionBackwardSm90(cudaStream_t stream, const AttentionBackward<T>& a, bool copied) {
  if (!a.aligned || a.tokens < kLeastTokens || a.tokens > kMostTokens) return false;
  const auto run = [&]<int kColumns, bool kByTma>() {
    const int allHeads = static_cast<int>(a.batch * a.heads);
    const int64_t width = int64_t{a.heads} * kColumns;
    Maps maps = {};
    if constexpr (kByTma) {
      maps = Maps{.qkv = tileMap<kMostTokens, kColumns>(a.qkv, a.batch, a.tokens, 3 * width),
                  .o = tileMap<kMostTokens, kColumns>(a.o, a.batch, a.tokens, width),
                  .dO = tileMap<kMostTokens, kColumns>(a.dO, a.batch, a.tokens, width),
                  .qkvBlock = blockMap<kColumns>(a.qkv, a.batch, a.tokens, 3 * width, kBlock),
                  .dOBlock = blockMap<kColumns>(a.dO, a.batch, a.tokens, width, kBlock)};
    }
    launch(stream, attentionBackwardSm90Kernel<T, kColumns, kByTma>,
           {.grid = dim3(static_cast<unsigned>(std::min(allHeads, deviceAttribute(cudaDevAttrMultiProcessorCount)))),
            .block = dim3(kThreads),
            .sharedBytes = Sizes<kColumns, kByTma>::bytes},
           maps, a, allHeads);
    return true;
  };
  switch (a.headDim) {
    case 64: return run.template operator()<64, true>();
    case 72: return copied && copyUnitsReaches(kMostTokens, a.heads, 72) ? run.template operator()<72, false>() : run.template operator()<72, true>();
    default: return false;
  }
}

template bool attentionBackwardSm90(cudaStream_t, const AttentionBackward<bf16>&, bool);
template bool attentionBackwardSm90(cudaStream_t, const AttentionBackward<f16>&, bool);

}  // namespace repa::cuda
