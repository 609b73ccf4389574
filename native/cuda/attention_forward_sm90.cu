// Attention on Hopper in bf16 and f16: whole heads are brought, wgmma multiplies, and a block stays for head after head. For head_dim 64 and
// 129 to 272 tokens (ViT's 257 and 261), and for head_dim 72 and 129 to 256 tokens. The mathematics is attention_forward.cu's, with a row of
// scores at once, whose shift never rises.
//
//   producer          one thread: TMA ──▶ two stages, a head's Q, K and V each ──▶
//   consumers 0, 1    blocks of 64 queries in turns, counted over all of the block's heads:
//
//     S = Q Kᵀ of all keys          64 x 256 floats, 128 registers; both operands from shared memory
//     maximum, then exponentials    32 or 64 keys at a time, rounded in registers as wgmma's left operand, ...
//     o += P V                      ... whose product runs under the exponentials of the next
//
// While one consumer is in its exponentials the other multiplies. A stage is filled again when both have read it: the next head comes
// while this one is worked on.
//
// 64 columns are lines of 128 bytes, which the TMA lays down swizzled; 72 are lines and a tail (attention_tile_sm90.cuh).
//
// Shared memory: 2 stages of 3 tiles of 128 bytes a row, 196,608 bytes for 256 rows and 208,896 for 272; at 72 columns of 144 bytes, and
// zeros, 225,280. One block an SM. Registers: 168 at launch; the producer gives back, so that a consumer has 240.
//
// On an H200, bf16, medians of the variant that this was made of: 3072 heads of 256 tokens (SiT-B/2, batch 256) 146 us, 353 TFLOP/s; of 257
// tokens (DINOv2-B) 202 us, 258 TFLOP/s, for a fifth block of 64 queries has one. attention_forward.cu takes 212 and 282 us, cuDNN by PyTorch
// 2.11 177 and 370, in another call 147 and 331. At 72 columns a variant whose rows came as nine units of 16 bytes was as fast as
// attention_forward.cu, 350 us for 4096 heads, and 224 without its copies. As lines and a tail, two boxes instead of nine units, no chip has
// timed it: it runs where REPA_ATTENTION=wgmma asks for it.
#include <algorithm>

#include "cuda/attention_tile_sm90.cuh"
#include "cuda/launch.h"
#include "cuda/ptx_thread.h"
#include "cuda/resident_blocks.h"

namespace repa::cuda {

namespace {

constexpr int kConsumers = 2, kThreads = (kConsumers + 1) * kWarpgroup, kStages = 2;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
constexpr int kBlock = 64;  // queries
constexpr int kKeys = 256;  // of one product; with kRows = 272 there are 16 more, of a second
constexpr int kLeastTokens = 129;

/// The TMA brings 256 rows at most at once.
template <int kRows>
constexpr int kBoxRows = kRows <= 256 ? kRows : kRows / 2;

/// Elements of what a kernel for at most kRows tokens keeps in shared memory; the barriers follow.
template <int kRows, int kColumns>
struct Sizes {
  static constexpr int tile = kTileElements<kRows, kColumns>;
  static constexpr int stage = 3 * tile;
  static constexpr int zeros = kHasTail<kColumns> ? kTail * kKeys : 0;  // as many rows as the right operand has
  static constexpr size_t barriersAt = sizeof(bf16) * (kStages * stage + zeros);
  static constexpr size_t bytes = barriersAt + 2 * kStages * sizeof(uint64_t);
  static_assert(bytes <= 227 * 1024);
};

template <class T, int kRows, int kColumns>
__global__ void __launch_bounds__(kThreads, 1) attentionSm90Kernel(const __grid_constant__ RowMaps maps, AttentionForward<T> a, int allHeads) {
  using Shared = Sizes<kRows, kColumns>;
  REPA_DYNAMIC_SHARED(shared);
  T* const tiles = reinterpret_cast<T*>(shared);
  T* const zeros = tiles + kStages * Shared::stage;
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + Shared::barriersAt);
  uint64_t* const empty = full + kStages;
  const int tokens = a.tokens;
  const int warpgroup = threadIdx.x / kWarpgroup;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrierInit(&full[stage], 1);
      mbarrierInit(&empty[stage], kConsumers * kWarpgroup / 32);
    }
    fenceMbarrierInit();
  }
  if constexpr (Shared::zeros > 0) {
    for (int i = threadIdx.x; i < Shared::zeros; i += kThreads) zeros[i] = T{};
    fenceProxyAsync();
  }
  __syncthreads();

  if (warpgroup == kConsumers) {
    decreaseRegisters<kProducerRegisters>();
    if (threadIdx.x == kConsumers * kWarpgroup) {
      int visit = 0;
#pragma unroll 1
      for (int head = blockIdx.x; head < allHeads; head += gridDim.x, ++visit) {
        const int stage = visit % kStages;
        mbarrierWait(&empty[stage], (visit / kStages & 1) ^ 1);
        const Head at(head, a.heads);
        T* const q = tiles + stage * Shared::stage;
        mbarrierArriveExpect(&full[stage], sizeof(T) * Shared::stage);
        for (int part = 0; part < 3; ++part)
          for (int row = 0; row < kRows; row += kBoxRows<kRows>)
            loadBox<kRows, kColumns>(q + part * Shared::tile, row, maps, &full[stage], (part * a.heads + at.head) * kColumns, row, at.sample);
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  const float c = a.scaleLog2;
  const int blocks = (tokens + kBlock - 1) / kBlock;
  int visit = 0;
#pragma unroll 1
  for (int head = blockIdx.x; head < allHeads; head += gridDim.x, ++visit) {
    const int stage = visit % kStages;
    const Head at(head, a.heads);
    const T* const q = tiles + stage * Shared::stage;
    const T* const k = q + Shared::tile;
    const T* const v = k + Shared::tile;
    mbarrierWait(&full[stage], visit / kStages & 1);
    // With kLeastTokens there are three blocks: every consumer has one of each head, and releases the stage after its last.
#pragma unroll 1
    for (int block = (warpgroup + visit * blocks) % kConsumers; block < blocks; block += kConsumers) {
      constexpr int kRest = kRows - kKeys;
      float s[kKeys / 2], rest[kRest > 0 ? kRest / 2 : 1];
      wgmmaFence();
      multiplyTransposed<T, kRows, kColumns, kKeys>(s, q, kBlock * block, k, 0, zeros);
      if constexpr (kRest > 0) multiplyTransposed<T, kRows, kColumns, kRest>(rest, q, kBlock * block, k, kKeys, zeros);
      wgmmaCommit();
      wgmmaWait<0>();
      wgmmaHold(s);
      if constexpr (kRest > 0) wgmmaHold(rest);
      const auto mask = [&]<int kCount>(float (&scores)[kCount], int firstKey) {
        const int past = tokens - firstKey - 2 * (readThread() % 4);
#pragma unroll
        for (int i = 0; i < kCount; ++i)
          if (i / 4 * 8 + i % 2 >= past) scores[i] = -INFINITY;
      };
      if constexpr (kRest > 0) mask(rest, kKeys);  // with a rest of keys all others are there
      else if (tokens < kRows) mask(s, 0);
      // In arrays of two, 0 is row g of the warp's 16 and 1 row g + 8.
      float shift[2], sum[2] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = -INFINITY;
#pragma unroll
        for (int i = 0; i < kKeys / 8; ++i) top = fmaxf(top, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
        if constexpr (kRest > 0) {
#pragma unroll
          for (int i = 0; i < kRest / 8; ++i) top = fmaxf(top, fmaxf(rest[4 * i + 2 * half], rest[4 * i + 2 * half + 1]));
        }
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 1));
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 2));
        shift[half] = fmaxf(top * c, kNoShift);
      }
      float o[kColumns / 2];
      const auto exponentials = [&](uint32_t (&p)[4], const float* scores) {
        float e[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          e[i] = exp2Approx(scores[i] * c - shift[i / 2 % 2]);
          sum[i / 2 % 2] += e[i];
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) p[i] = pack2<T>(e[2 * i], e[2 * i + 1]);
      };
      // Of 16 keys each. What the rest of the keys needs leaves fewer registers.
      constexpr int kSteps = kRest > 0 ? 2 : 4;
#pragma unroll
      for (int group = 0; group < kKeys / 16 / kSteps; ++group) {
        uint32_t p[kSteps][4];
#pragma unroll
        for (int step = 0; step < kSteps; ++step) exponentials(p[step], s + 8 * (kSteps * group + step));
        const auto rows = sixteenRows<kRows, kColumns>(v, 16 * kSteps * group);
        wgmmaFence();
#pragma unroll
        for (int step = 0; step < kSteps; ++step) multiplyRows<T, kColumns>(o, p[step], rows + 16 * step, group > 0 || step > 0);
        wgmmaCommit();
        wgmmaWait<1>();
      }
      if constexpr (kRest > 0) {
        static_assert(kRest == 16, "one step");
        uint32_t p[4];
        exponentials(p, rest);
        wgmmaFence();
        multiplyRows<T, kColumns>(o, p, sixteenRows<kRows, kColumns>(v, kKeys));
        wgmmaCommit();
      }
      const int lane = readThread() % 32, first = kBlock * block + 16 * (readThread() / 32 % 4);
      float factor[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[half];
        total += __shfl_xor_sync(kAll, total, 1);
        total += __shfl_xor_sync(kAll, total, 2);
        factor[half] = 1.0f / total;
        const int row = first + lane / 4 + 8 * half;
        if (a.lse && lane % 4 == 0 && row < tokens) a.lse[int64_t{at.index} * tokens + row] = shift[half] + log2Approx(total);
      }
      wgmmaWait<0>();
      wgmmaHold(o);
      if (block + kConsumers >= blocks && lane == 0) mbarrierArrive(&empty[stage]);
      storeRows(tilesOf(o), factor, headOfOutput(a.o, at, tokens, a.heads, kColumns), first, tokens, kColumns, true);
    }
  }
}

}  // namespace

template <class T>
bool attentionSm90(cudaStream_t stream, const AttentionForward<T>& a) {
  const auto run = [&]<int kRows, int kColumns>() {
    using Shared = Sizes<kRows, kColumns>;
    const int allHeads = static_cast<int>(a.batch * a.heads);
    launch(stream, attentionSm90Kernel<T, kRows, kColumns>,
           {.grid = dim3(static_cast<unsigned>(std::min(allHeads, residentBlocks()))),
            .block = dim3(kThreads),
            .sharedBytes = Shared::bytes},
           rowMaps<kColumns>(a.qkv, a.batch, a.tokens, int64_t{3} * a.heads * kColumns, kBoxRows<kRows>), a, allHeads);
    return true;
  };
  if (!a.aligned || a.tokens < kLeastTokens || a.tokens > kKeys + 16) return false;
  const bool past = a.tokens > kKeys;
  switch (a.headDim) {
    case 64: return past ? run.template operator()<kKeys + 16, 64>() : run.template operator()<kKeys, 64>();
    case 72: return !past && run.template operator()<kKeys, 72>();
    default: return false;
  }
}

template bool attentionSm90(cudaStream_t, const AttentionForward<bf16>&);
template bool attentionSm90(cudaStream_t, const AttentionForward<f16>&);

}  // namespace repa::cuda
