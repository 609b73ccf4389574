// Attention on Hopper in bf16 and f16 for any number of tokens, at head_dim 32, 64 and 72: keys and values pass by through the TMA, wgmma
// multiplies, and a block stays for tile after tile of 128 queries of a head. The mathematics is attention_forward.cu's; the order of work is
// FlashAttention-3's (arXiv 2407.08608, section 3).
//
//   producer          one thread: TMA ──▶ the tile's queries;  K, V of 128 keys each ──▶ a ring of four stages
//   consumers 0, 1    64 queries each, which stay in registers as left operands; for every 128 keys
//
//     S = Q Kᵀ of these keys        64 x 128 floats, 64 registers ┐ issued one after the other; the second product runs
//     o += P V of those before      P in 32 registers             ┘ under the first one's exponentials
//     P = 2^(c S - shift)           rounded when o has been waited for
//
// The consumers take turns at issuing (two named barriers), so that one multiplies while the other is in its exponentials. Keys go by from
// the last to the first: only the first 128 that come may be fewer, and have to be masked. A row's shift is raised, and o multiplied, only
// where a score passes it by kSlack, as in attention_forward.cu.
//
// Shared memory at 72 columns: queries 18,432 bytes; four stages of K and V 147,456; zeros 2,048 (attention_tile_sm90.cuh): 168,080 with the
// barriers, one block an SM. Registers: 168 at launch; the producer gives back, so that a consumer has 240.
//
// No chip has timed it: it runs where REPA_ATTENTION asks for it.
#include "cuda/attention_stream_sm90.cuh"

namespace repa::cuda {

namespace {

constexpr int kKeys = 128, kStages = 4;  // of a stage
constexpr int kTurnBarrier = 1;          // named: consumer 0's turn, consumer 1's turn

/// Elements of what lies in shared memory; the barriers follow.
template <int kColumns>
struct Sizes {
  static constexpr int queries = kTileElements<kRows, kColumns>;
  static constexpr int keys = kTileElements<kKeys, kColumns>;
  static constexpr int zeros = kHasTail<kColumns> ? kTail * kKeys : 0;  // as many rows as the right operand has
  static constexpr size_t barriersAt = sizeof(bf16) * (queries + 2 * kStages * keys + zeros);
  static constexpr size_t bytes = barriersAt + (2 + 4 * kStages) * sizeof(uint64_t);
  static_assert(bytes <= 227 * 1024);
};

/// Boxes of a tile's queries, and of a stage's keys or values.
struct Maps {
  RowMaps queries, keys;
};

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attentionStreamedSm90Kernel(const __grid_constant__ Maps maps, AttentionForward<T> a, Work work) {
  using Shared = Sizes<kColumns>;
  REPA_DYNAMIC_SHARED(shared);
  T* const queries = reinterpret_cast<T*>(shared);
  const auto keysOf = [&](int stage) { return queries + Shared::queries + 2 * stage * Shared::keys; };
  const auto valuesOf = [&](int stage) { return keysOf(stage) + Shared::keys; };
  T* const zeros = keysOf(kStages);
  uint64_t* const queriesFull = reinterpret_cast<uint64_t*>(shared + Shared::barriersAt);
  uint64_t* const queriesEmpty = queriesFull + 1;
  uint64_t* const keysFull = queriesEmpty + 1;
  uint64_t* const keysEmpty = keysFull + kStages;
  uint64_t* const valuesFull = keysEmpty + kStages;
  uint64_t* const valuesEmpty = valuesFull + kStages;
  const int warpgroup = threadIdx.x / kWarpgroup;
  if (threadIdx.x == 0) {
    mbarrierInit(queriesFull, 1);
    mbarrierInit(queriesEmpty, kConsumerWarps);
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrierInit(&keysFull[stage], 1);
      mbarrierInit(&keysEmpty[stage], kConsumerWarps);
      mbarrierInit(&valuesFull[stage], 1);
      mbarrierInit(&valuesEmpty[stage], kConsumerWarps);
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
      int piece = 0;
#pragma unroll 1
      for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
        const Head at(tile / work.blocks, a.heads);
        const auto firstColumn = [&](QkvPart part) { return (part * a.heads + at.head) * kColumns; };
        mbarrierWait(queriesEmpty, (visit & 1) ^ 1);
        mbarrierArriveExpect(queriesFull, sizeof(T) * Shared::queries);
        loadBox<kRows, kColumns>(queries, 0, maps.queries, queriesFull, firstColumn(kQuery), kRows * (tile % work.blocks), at.sample);
#pragma unroll 1
        for (int i = work.pieces - 1; i >= 0; --i, ++piece) {
          const PlaceInRing<kStages> to(piece);
          mbarrierWait(&keysEmpty[to.stage], to.parity ^ 1);
          mbarrierArriveExpect(&keysFull[to.stage], sizeof(T) * Shared::keys);
          loadBox<kKeys, kColumns>(keysOf(to.stage), 0, maps.keys, &keysFull[to.stage], firstColumn(kKey), kKeys * i, at.sample);
          mbarrierWait(&valuesEmpty[to.stage], to.parity ^ 1);
          mbarrierArriveExpect(&valuesFull[to.stage], sizeof(T) * Shared::keys);
          loadBox<kKeys, kColumns>(valuesOf(to.stage), 0, maps.keys, &valuesFull[to.stage], firstColumn(kValue), kKeys * i, at.sample);
        }
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  const auto takeTurn = [&] { namedBarrierSync(kTurnBarrier + warpgroup, kConsumers * kWarpgroup); };
  const auto passTurn = [&] { namedBarrierArrive(kTurnBarrier + 1 - warpgroup, kConsumers * kWarpgroup); };
  const float c = a.scaleLog2;
  if (warpgroup == 1) passTurn();
  int piece = 0;
#pragma unroll 1
  for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
    const bool lastTile = tile + static_cast<int>(gridDim.x) >= work.tiles;
    LeftOperands<kColumns> q;
    mbarrierWait(queriesFull, visit & 1);
    q.template load<kRows>(queries, kBlock * warpgroup);
    __syncwarp();
    release(queriesEmpty);

    // In arrays of two, 0 is row g of the warp's 16 and 1 row g + 8. Sums are of the lane's own columns, until the end.
    float s[kKeys / 2], o[kColumns / 2], shift[2] = {kNoShift, kNoShift}, sum[2] = {}, correction[2];
    uint32_t p[kKeys / 16][4];
    const auto multiplyKeys = [&](int stage) {
      wgmmaFence();
      multiplyTransposed<T, kKeys, kColumns, kKeys>(s, q, keysOf(stage), 0, zeros);
      wgmmaCommit();
    };
    const auto multiplyValues = [&](int stage, bool accumulate) {
      const auto rows = sixteenRows<kKeys, kColumns>(valuesOf(stage), 0);
      wgmmaFence();
#pragma unroll
      for (int step = 0; step < kKeys / 16; ++step) multiplyRows<T, kColumns>(o, p[step], rows + 16 * step, accumulate || step > 0);
      wgmmaCommit();
    };
    // In the scores' place. Whether what was summed before has to be multiplied by `correction`.
    const auto exponentials = [&] {
      float top[2] = {-INFINITY, -INFINITY};
      bool raise = false;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < kKeys / 8; ++i) top[half] = fmaxf(top[half], fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
        raise |= top[half] * c > shift[half] + kSlack;
      }
      raise = __any_sync(kAll, raise);
      if (raise) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float maximum = fmaxf(top[half], __shfl_xor_sync(kAll, top[half], 1));
          maximum = fmaxf(maximum, __shfl_xor_sync(kAll, maximum, 2));
          const float raised = fmaxf(maximum * c, shift[half]);
          correction[half] = exp2Approx(shift[half] - raised);
          shift[half] = raised;
          sum[half] *= correction[half];
        }
      }
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) {
        s[i] = exp2Approx(s[i] * c - shift[i / 2 % 2]);
        sum[i / 2 % 2] += s[i];
      }
      return raise;
    };
    const auto roundScores = [&] {
#pragma unroll
      for (int step = 0; step < kKeys / 16; ++step) roundToLeft<T>(p[step], tilesOf(s)[2 * step], tilesOf(s)[2 * step + 1]);
    };

    PlaceInRing<kStages> at(piece);
    mbarrierWait(&keysFull[at.stage], at.parity);
    takeTurn();
    multiplyKeys(at.stage);
    if (warpgroup == 0 || !lastTile || work.pieces > 1) passTurn();
    wgmmaWait<0>();
    wgmmaHold(s);
    release(&keysEmpty[at.stage]);
    if (const int keys = a.tokens - kKeys * (work.pieces - 1); keys < kKeys) {
      const int t = readThread() % 4;
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i)
        if (i / 4 * 8 + 2 * t + i % 2 >= keys) s[i] = -INFINITY;
    }
    exponentials();
    roundScores();
#pragma unroll 1
    for (int i = 1; i < work.pieces; ++i) {
      const PlaceInRing<kStages> next(piece + i);
      mbarrierWait(&keysFull[next.stage], next.parity);
      takeTurn();
      multiplyKeys(next.stage);
      mbarrierWait(&valuesFull[at.stage], at.parity);
      multiplyValues(at.stage, i > 1);
      // The turn that follows the last is nobody's.
      if (warpgroup == 0 || !lastTile || i + 1 < work.pieces) passTurn();
      wgmmaWait<1>();
      wgmmaHold(s);
      release(&keysEmpty[next.stage]);
      const bool raised = exponentials();
      wgmmaWait<0>();
      wgmmaHold(o);
      release(&valuesEmpty[at.stage]);
      if (raised) {
#pragma unroll
        for (int column = 0; column < kColumns / 2; ++column) o[column] *= correction[column / 2 % 2];
      }
      roundScores();
      at = next;
    }
    mbarrierWait(&valuesFull[at.stage], at.parity);
    multiplyValues(at.stage, work.pieces > 1);
    piece += work.pieces;

    const Head head(tile / work.blocks, a.heads);
    const int lane = readThread() % 32, first = kRows * (tile % work.blocks) + firstRowOfWarp();
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[half];
      total += __shfl_xor_sync(kAll, total, 1);
      total += __shfl_xor_sync(kAll, total, 2);
      factor[half] = 1.0f / total;
      const int row = first + lane / 4 + 8 * half;
      if (a.lse && lane % 4 == 0 && row < a.tokens) a.lse[int64_t{head.index} * a.tokens + row] = shift[half] + log2Approx(total);
    }
    wgmmaWait<0>();
    wgmmaHold(o);
    release(&valuesEmpty[at.stage]);
    storeRows(tilesOf(o), factor, headOfOutput(a.o, head, a.tokens, a.heads, kColumns), first, a.tokens, kColumns, true);
  }
}

}  // namespace

template <class T>
bool attentionStreamedSm90(cudaStream_t stream, const AttentionForward<T>& a) {
  const auto run = [&]<int kColumns>() {
    const Work work = workOf(a, kKeys);
    const auto boxes = [&](int rows) { return rowMaps<kColumns>(a.qkv, a.batch, a.tokens, int64_t{3} * a.heads * kColumns, rows); };
    launch(stream, attentionStreamedSm90Kernel<T, kColumns>, shapeOf(work, Sizes<kColumns>::bytes),
           Maps{.queries = boxes(kRows), .keys = boxes(kKeys)}, a, work);
    return true;
  };
  if (!a.aligned) return false;
  switch (a.headDim) {
    case 32: return run.template operator()<32>();
    case 64: return run.template operator()<64>();
    case 72: return run.template operator()<72>();
    default: return false;
  }
}

template bool attentionStreamedSm90(cudaStream_t, const AttentionForward<bf16>&);
template bool attentionStreamedSm90(cudaStream_t, const AttentionForward<f16>&);

}  // namespace repa::cuda
