// Attention's gradient on Hopper in bf16 and f16: TMA brings whole heads, wgmma multiplies. For 129 to 256 tokens and head_dim 64 or 72.
//
// As in attention_backward_resident.cu a block of two warpgroups stays for head after head with Q, K, V and dO in shared memory, nothing
// crosses blocks, and keys stand in the rows, so that P and dS are left operands as they come out of the products before:
//
//   warpgroup 0: keys 0-127      warpgroup 1: keys 128-255      dK and dV stay in registers: 144 a thread at 72 columns
//
//   for every 64 queries, for each 64 of the keys:
//     Sᵀ = K Qᵀ     dPᵀ = V dOᵀ - delta      64 x 64, issued behind the last dK; dP begins at -delta and runs under P's exponentials
//     Pᵀ = 2^(c Sᵀ - lse)                    dV += Pᵀ dO, of 16 queries at a time under what makes the next
//     dSᵀ = Pᵀ dPᵀ                           dK += dSᵀ Q likewise; to shared memory too, by stmatrix
//   then one of the warpgroups, in turns:    dQ = scale dS K of the 64 queries, while the other goes on to the next; the last is warpgroup 1's,
//                                            and runs while dK and dV are stored
//
// dS of 64 queries: for every 8 of them, key after key, 16 bytes: an MN-major left operand. There are two; a barrier says that both
// warpgroups have laid theirs down, and because they take turns it also says that the dS before last has been read.
//
// What is written goes by way of shared memory too, and the TMA stores it while the threads go on: dQ of a block from where its dS was, dV from
// where the warpgroup's half of V was, dK from where o was.
//
// The next head comes in as this one is done with: a block of Q and dO after the next block's barrier, the rest of them and lse after the last
// block's; K when the last dQ has read it; a half of V and of o when what was laid into their places has been stored. delta, which needs all
// of o, and the column sums are made as in attention_backward_resident.cu. All copies of a head count on one barrier.
//
// Shared memory at 72 columns: K, V, Q, dO 147,456 bytes; dS, where o lies at first, 73,728; zeros 1,024; lse, delta 2,048; column sums
// 6,912: 231,176 with the barrier, one block an SM. Registers, of 255: 255 at 72 columns, 240 at 64.
//
// On an H200, bf16, with column sums, medians of the variant that this was made of: SiT-B/2 at batch 256 (3072 heads, 64 columns) 445 us,
// 289 TFLOP/s; SiT-XL/2 (4096 heads, 72 columns) 905 us, 213 TFLOP/s. attention_backward_resident.cu takes 681 and 1090 us, cuDNN by PyTorch
// 2.11 864 and 1350. At 72 columns a variant that copied nothing took 723 us. There 72 columns were nine units of 16 bytes, 75 copies a head
// where 28 of lines and tails are now; every thread stored its own results, 1,060 instructions a warp at a head's end where 730 are now (nvcc
// 13.0); and the next head's K was asked for after that. No chip has timed what it is now.
#include <algorithm>

#include "cuda/attention_backward_tile.cuh"
#include "cuda/attention_tile_sm90.cuh"
#include "cuda/launch.h"
#include "cuda/resident_blocks.h"

namespace repa::cuda {

namespace {

constexpr int kWarpgroups = 2, kThreads = kWarpgroups * kWarpgroup, kWarps = kThreads / 32;
constexpr int kRows = 256, kLeastTokens = 129;  // of a head
constexpr int kBlock = 64;                      // queries, and keys of a warpgroup at a time
constexpr int kHalf = kRows / kWarpgroups, kKeyTiles = kHalf / kBlock;  // a warpgroup's keys
constexpr int kScorePitch = 8 * kRows;          // elements between dS of eight queries and of the next
// Named barriers: dS is there, one for each of the two; both warpgroups are at the head's beginning or end; a warpgroup is done with what it
// is about to write to, one for each.
constexpr int kScoreBarrier = 1, kHeadBarrier = 3, kOwnBarrier = 4;
template <int kColumns>
constexpr int kSumPitch = 3 * kColumns;  // floats between the column sums, of dQ, dK and dV, of two warps

/// Elements of what lies in shared memory; floats and the barrier follow.
template <int kColumns>
struct Sizes {
  static constexpr int tile = kTileElements<kRows, kColumns>;
  static constexpr int scores = std::max(kRows * kBlock, tile);  // o lies there as well, and dK
  static constexpr int zeros = kHasTail<kColumns> ? kTail * kBlock : 0;
  static constexpr size_t floatsAt = sizeof(bf16) * (4 * tile + 2 * scores + zeros);
  static constexpr size_t barrierAt = floatsAt + sizeof(float) * (2 * kRows + kWarps * kSumPitch<kColumns>);
  static constexpr size_t bytes = barrierAt + sizeof(uint64_t);
  static constexpr unsigned headBytes = sizeof(bf16) * 5 * tile;
  static_assert(bytes <= 227 * 1024);
};

/// What is copied in boxes of a warpgroup's half of the rows, and of kBlock rows.
struct Maps {
  RowMaps qkvHalf, oHalf, qkvBlock, dOBlock, dqkvBlock;
};

/// What the launcher could leave to the threads, had they registers for it.
struct LaunchSizes {
  int heads, blocks;  // of the batch; of a head's queries
  Divisor headsOfSample;
  int beside;         // elements from the first place of dS to that where the last block's is not
};

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 1) attentionBackwardSm90Kernel(const __grid_constant__ Maps maps, AttentionBackward<T> a, LaunchSizes sizes) {
  using Shared = Sizes<kColumns>;
  REPA_DYNAMIC_SHARED(shared);
  T* const k = reinterpret_cast<T*>(shared);
  T* const v = k + Shared::tile;
  T* const q = v + Shared::tile;
  T* const dO = q + Shared::tile;
  T* const staging = dO + Shared::tile;
  T* const zeros = staging + 2 * Shared::scores;
  float* const lse = reinterpret_cast<float*>(shared + Shared::floatsAt);
  float* const negativeDelta = lse + kRows;
  float* const columnSums = negativeDelta + kRows;
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + Shared::barrierAt);
  const int tokens = a.tokens;
  T* const beside = staging + sizes.beside;

  // One thread asks for these.
  const auto loadPart = [&](T* tile, const Head& at, QkvPart part, int half) {
    loadBox<kRows, kColumns>(tile, kHalf * half, maps.qkvHalf, full, (part * a.heads + at.head) * kColumns, kHalf * half, at.sample);
  };
  const auto loadOutput = [&](const Head& at, int half) {
    loadBox<kRows, kColumns>(beside, kHalf * half, maps.oHalf, full, at.head * kColumns, kHalf * half, at.sample);
  };
  const auto loadQueries = [&](const Head& at, int first) {
    loadBox<kRows, kColumns>(q, first, maps.qkvBlock, full, at.head * kColumns, first, at.sample);
    loadBox<kRows, kColumns>(dO, first, maps.dOBlock, full, at.head * kColumns, first, at.sample);
  };
  // And this, of kBlock rows.
  const auto store = [&]<int kTileRows>(const T* tile, int from, const Head& at, QkvPart part, int row) {
    storeBox<kTileRows, kColumns>(tile, from, maps.dqkvBlock, (part * a.heads + at.head) * kColumns, row, at.sample);
  };

  if (threadIdx.x == 0) {
    mbarrierInit(full, 1);
    fenceMbarrierInit();
  }
  for (int i = threadIdx.x; i < Shared::zeros; i += kThreads) zeros[i] = T{};
  fenceProxyAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    const Head at(static_cast<int>(blockIdx.x), sizes.headsOfSample);
    mbarrierArriveExpect(full, Shared::headBytes);
#pragma unroll 1
    for (int first = 0; first < kRows; first += kBlock) loadQueries(at, first);
#pragma unroll 1
    for (int half = 0; half < kWarpgroups; ++half) {
      loadOutput(at, half);
      loadPart(v, at, kValue, half);
      loadPart(k, at, kKey, half);
    }
  }
  if (static_cast<int>(threadIdx.x) < tokens) cpAsync<4>(lse + threadIdx.x, a.lse + int64_t{blockIdx.x} * tokens + threadIdx.x);
  // A copy of the code for each warpgroup: what its keys' operands are is known when it is compiled.
  const auto work = [&](auto warpgroupTag) {
    constexpr int warpgroup = decltype(warpgroupTag)::value;
    const int lane = laneId(), t = lane % 4;
    // Begins dQ / scale = dS K of 64 queries, over all keys.
    const auto multiplyScores = [&](float(&dQ)[kColumns / 2], const T* scores) {
      const MatrixDescriptor left = matrixDescriptor(scores, 128, kScorePitch * sizeof(T), Swizzle::none);
      const auto rows = sixteenRows<kRows, kColumns>(k, 0);
      wgmmaFence();
#pragma unroll
      for (int key = 0; key < kRows; key += 16) multiplyRows<T, kColumns>(dQ, advance(left, 16 * key), rows + key, key > 0);
      wgmmaCommit();
    };
    // Stores it, and adds to the sums of its columns, when all warps have read dS, where it is laid down.
    const auto finishQueries = [&](float(&dQ)[1][kColumns / 2], T* scores, int head, int block) {
      if (a.columnSums) {
        const bool more = block >= 2;
        sumColumns(tilesOf(dQ), a.scale, [&](int warp, int column, float sum) {
          float* const to = columnSums + warp * kSumPitch<kColumns> + column;
          *to = more ? *to + sum : sum;
        });
      }
      stageRows<kBlock, kColumns>(scores, 0, tilesOf(dQ[0]), a.scale);
      fenceProxyAsync();
      namedBarrierSync(kOwnBarrier + warpgroup, kWarpgroup);
      if (readThread() % kWarpgroup == 0) {
        store.template operator()<kBlock>(scores, 0, Head(head, sizes.headsOfSample), kQuery, kBlock * block);
        bulkCommit();
      }
    };
#pragma unroll 1
    for (int visit = 0, head = blockIdx.x; head < sizes.heads; head += gridDim.x, ++visit) {
      const int next = head + gridDim.x;
      {
        const int row = readThread();
        cpAsyncCommit();
        cpAsyncWait<0>();
        mbarrierWait(full, visit & 1);
        namedBarrierSync(kHeadBarrier, kThreads);
        float sum = 0.0f;
#pragma unroll
        for (int unit = 0; unit < kColumns / 8; ++unit) {
          sum += dotOfEight<T>(*reinterpret_cast<const uint4*>(unitOfTile<kRows, kColumns>(dO, row, unit)),
                               *reinterpret_cast<const uint4*>(unitOfTile<kRows, kColumns>(beside, row, unit)));
        }
        if (row >= tokens) lse[row] = INFINITY;
        negativeDelta[row] = row < tokens ? -sum : 0.0f;
        namedBarrierSync(kHeadBarrier, kThreads);
      }

      float dK[kKeyTiles][kColumns / 2], dV[kKeyTiles][kColumns / 2];
      constexpr int firstKey = kHalf * warpgroup;
      float p[kBlock / 2], dP[kBlock / 2];
      // Begins S and dP - delta of 64 keys and the queries from `first` on.
      const auto beginScores = [&](int key, int first) {
        wgmmaFence();
        multiplyTransposed<T, kRows, kColumns, kBlock>(p, k, key, q, first, zeros);
        wgmmaCommit();
        wgmmaWait<1>();
#pragma unroll
        for (int column = 0; column < kBlock / 8; ++column) {
          const float2 start = *reinterpret_cast<const float2*>(negativeDelta + first + 8 * column + 2 * t);
#pragma unroll
          for (int r = 0; r < 4; ++r) dP[4 * column + r] = r % 2 == 0 ? start.x : start.y;
        }
        wgmmaHold(dP);
        wgmmaFence();
        multiplyTransposed<T, kRows, kColumns, kBlock>(dP, v, key, dO, first, zeros, true);
        wgmmaCommit();
      };
#pragma unroll 1
      for (int block = 0; block < sizes.blocks; ++block) {
        T* const scores = staging + block % 2 * Shared::scores;
        beginScores(firstKey, computeAnew(kBlock * block));
#pragma unroll
        for (int tile = 0; tile < kKeyTiles; ++tile) {
          const int key = firstKey + kBlock * tile;
          // Or the second tile's descriptors would be kept from the first's, in registers that there are not.
          const int first = computeAnew(kBlock * block);
          float2 logarithms[kBlock / 8];  // of 16 queries more than are worked on
          const auto loadLogarithms = [&](int step) {
#pragma unroll
            for (int column = 2 * step; column < 2 * step + 2; ++column)
              logarithms[column] = *reinterpret_cast<const float2*>(lse + first + 8 * column + 2 * t);
          };
          loadLogarithms(0);
          wgmmaWait<1>();
          wgmmaHold(p);
          if (tokens < key + kBlock) {
            const int thread = readThread(), keys = tokens - key - 16 * (thread / 32 % 4) - thread % 32 / 4;  // from the lane's first on
#pragma unroll
            for (int i = 0; i < kBlock / 2; ++i)
              if (8 * (i / 2 % 2) >= keys) p[i] = -INFINITY;
          }
          {
            uint32_t left[kBlock / 16][4];
            const auto rows = sixteenRows<kRows, kColumns>(dO, first);
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) {
              if (step + 1 < kBlock / 16) loadLogarithms(step + 1);
#pragma unroll
              for (int i = 8 * step; i < 8 * step + 8; ++i)
                p[i] = exp2Approx(p[i] * a.scaleLog2 - (i % 2 == 0 ? logarithms[i / 4].x : logarithms[i / 4].y));
              roundToLeft<T>(left[step], tilesOf(p)[2 * step], tilesOf(p)[2 * step + 1]);
              wgmmaFence();
              multiplyRows<T, kColumns>(dV[tile], left[step], rows + 16 * step, block > 0 || step > 0);
            }
            wgmmaCommit();
          }
          T* const to = scores + lane / 16 * kScorePitch + (key + 16 * (warpId() % 4) + lane % 16) * 8;
          wgmmaWait<1>();
          wgmmaHold(dP);
          {
            uint32_t left[kBlock / 16][4];
            const auto rows = sixteenRows<kRows, kColumns>(q, first);
#pragma unroll
            for (int step = 0; step < kBlock / 16; ++step) {
#pragma unroll
              for (int i = 8 * step; i < 8 * step + 8; ++i) p[i] *= dP[i];
              roundToLeft<T>(left[step], tilesOf(p)[2 * step], tilesOf(p)[2 * step + 1]);
              stmatrix(to + 2 * step * kScorePitch, left[step]);
              wgmmaFence();
              multiplyRows<T, kColumns>(dK[tile], left[step], rows + 16 * step, block > 0 || step > 0);
            }
            wgmmaCommit();
          }
          if (tile + 1 < kKeyTiles) beginScores(key + kBlock, first);
        }
        const bool own = (block + sizes.blocks) % 2 == warpgroup, last = block + 1 == sizes.blocks;
        // Behind the last barrier the next head's Q and dO may come to where these products read.
        if (last) wgmmaWait<0>();
        fenceProxyAsync();
        const int thread = readThread() % kWarpgroup;
        // What was stored of dQ before has been read: the next dS may come to its place.
        if (thread == 0) bulkWaitRead<0>();
        if (own || last) {
          namedBarrierSync(kScoreBarrier + block % 2, kThreads);
        } else {
          namedBarrierArrive(kScoreBarrier + block % 2, kThreads);
          namedBarrierSync(kOwnBarrier + warpgroup, kWarpgroup);
        }
        if (own && !last) {
          float dQ[1][kColumns / 2];
          multiplyScores(dQ[0], scores);
          if (thread == 0 && next < sizes.heads && block > 0) loadQueries(Head(next, sizes.headsOfSample), kBlock * (block - 1));
          wgmmaWait<0>();
          wgmmaHold(dQ[0]);
          namedBarrierSync(kOwnBarrier + warpgroup, kWarpgroup);
          finishQueries(dQ, scores, head, block);
        }
      }
      const int thread = readThread() % kWarpgroup;
      const int last = sizes.blocks - 1;
      T* const scores = staging + last % 2 * Shared::scores;
      float dQ[1][kColumns / 2];
      wgmmaWait<0>();
#pragma unroll
      for (int tile = 0; tile < kKeyTiles; ++tile) {
        wgmmaHold(dK[tile]);
        wgmmaHold(dV[tile]);
      }
      if constexpr (warpgroup == 1) {
        multiplyScores(dQ[0], scores);
      } else if (next < sizes.heads) {
        if (thread == 0) {
          const Head at(next, sizes.headsOfSample);
#pragma unroll 1
          for (int row = kBlock * (last - 1); row < kRows; row += kBlock) loadQueries(at, row);
        }
        for (int row = thread; row < tokens; row += kWarpgroup) cpAsync<4>(lse + row, a.lse + int64_t{next} * tokens + row);
      }
      // dV takes V's place, dK that of o, by halves.
#pragma unroll
      for (int tile = 0; tile < kKeyTiles; ++tile) {
        stageRows<kRows, kColumns>(beside, firstKey + kBlock * tile, tilesOf(dK[tile]), a.scale);
        stageRows<kRows, kColumns>(v, firstKey + kBlock * tile, tilesOf(dV[tile]), 1.0f);
      }
      fenceProxyAsync();
      namedBarrierSync(kOwnBarrier + warpgroup, kWarpgroup);
      if (thread == 0) {
        const Head at(head, sizes.headsOfSample);
#pragma unroll 1
        for (int row = firstKey; row < firstKey + kHalf; row += kBlock) {
          store.template operator()<kRows>(beside, row, at, kKey, row);
          store.template operator()<kRows>(v, row, at, kValue, row);
        }
        bulkCommit();
      }
      if constexpr (warpgroup == 1) {
        wgmmaWait<0>();
        wgmmaHold(dQ[0]);
        namedBarrierSync(kOwnBarrier + warpgroup, kWarpgroup);
        if (thread == 0 && next < sizes.heads) {
          const Head at(next, sizes.headsOfSample);
          mbarrierArriveExpect(full, Shared::headBytes);
          loadPart(k, at, kKey, 0);
          loadPart(k, at, kKey, 1);
        }
      }
      // While the TMA reads what it stores.
      if (a.columnSums) {
        const auto sumsOf = [&](int warp, QkvPart part) { return columnSums + warp * kSumPitch<kColumns> + part * kColumns; };
        sumColumns(tilesOf(dK), a.scale, [&](int warp, int column, float sum) { sumsOf(warp, kKey)[column] = sum; });
        sumColumns(tilesOf(dV), 1.0f, [&](int warp, int column, float sum) { sumsOf(warp, kValue)[column] = sum; });
      }
      if (thread == 0) {
        bulkWaitRead<0>();
        if (next < sizes.heads) {
          const Head at(next, sizes.headsOfSample);
          loadPart(v, at, kValue, warpgroup);
          loadOutput(at, warpgroup);
        }
      }
      if constexpr (warpgroup == 1) {
        finishQueries(dQ, scores, head, last);
        if (thread == 0) bulkWaitRead<0>();
      }
      namedBarrierSync(kHeadBarrier, kThreads);  // the column sums of both warpgroups are there, and nobody reads dS any more
      if (const int i = readThread(); a.columnSums && i < kSumPitch<kColumns>) {
        const Head at(head, sizes.headsOfSample);
        storeColumnSum(a, at, at.sample, static_cast<QkvPart>(i / kColumns), i % kColumns, kColumns,
                       sumOfWarps<kWarps>(columnSums + i, kSumPitch<kColumns>));
      }
    }
  };
  if (threadIdx.x < kWarpgroup) work(std::integral_constant<int, 0>{});
  else work(std::integral_constant<int, 1>{});
}

}  // namespace

template <class T>
bool attentionBackwardSm90(cudaStream_t stream, const AttentionBackward<T>& a) {
  if (!a.aligned || a.tokens < kLeastTokens || a.tokens > kRows) return false;
  const auto run = [&]<int kColumns>() {
    const int blocks = (a.tokens + kBlock - 1) / kBlock;
    const LaunchSizes sizes = {.heads = static_cast<int>(a.batch * a.heads),
                               .blocks = blocks,
                               .headsOfSample = Divisor(a.heads),
                               .beside = blocks % 2 * Sizes<kColumns>::scores};
    const int64_t width = int64_t{a.heads} * kColumns;
    const Maps maps = {.qkvHalf = rowMaps<kColumns>(a.qkv, a.batch, a.tokens, 3 * width, kHalf),
                       .oHalf = rowMaps<kColumns>(a.o, a.batch, a.tokens, width, kHalf),
                       .qkvBlock = rowMaps<kColumns>(a.qkv, a.batch, a.tokens, 3 * width, kBlock),
                       .dOBlock = rowMaps<kColumns>(a.dO, a.batch, a.tokens, width, kBlock),
                       .dqkvBlock = rowMaps<kColumns>(a.dqkv, a.batch, a.tokens, 3 * width, kBlock)};
    launch(stream, attentionBackwardSm90Kernel<T, kColumns>,
           {.grid = dim3(static_cast<unsigned>(std::min(sizes.heads, residentBlocks()))),
            .block = dim3(kThreads),
            .sharedBytes = Sizes<kColumns>::bytes},
           maps, a, sizes);
    return true;
  };
  switch (a.headDim) {
    case 64: return run.template operator()<64>();
    case 72: return run.template operator()<72>();
    default: return false;
  }
}

template bool attentionBackwardSm90(cudaStream_t, const AttentionBackward<bf16>&);
template bool attentionBackwardSm90(cudaStream_t, const AttentionBackward<f16>&);

}  // namespace repa::cuda
