// Attention's gradient on Hopper in bf16 and f16 for any number of tokens, at head_dim 32, 64 and 72. As in attention_backward_streamed.cu there
// are two kernels, so that each sum has one owner and needs no atomics: S and dP are made twice, 7 products instead of 5. In exchange no P or
// dS leaves its registers: each is a left operand as it comes out of the products before. What stays with a consumer, 64 rows of a head of
// each of two tensors, is a left operand in registers too, read from shared memory once a tile.
//
//   producer          TMA ──▶ the tile's 128 rows;  pieces of 64 rows of what passes by ──▶ a ring of six stages
//   consumers 0, 1    64 rows each; products of 64 x 64 for every piece
//
//   dQ       Q, dO stay, K and V pass by             dK, dV   K, V stay, Q and dO pass by, with lse and delta
//     S = Q Kᵀ         dP = dO Vᵀ                      Sᵀ = K Qᵀ         dPᵀ = V dOᵀ
//     dS = 2^(c S - lse) (dP - delta)                  Pᵀ = 2^(c Sᵀ - lse)            dV += Pᵀ dO, which runs under dS
//     dQ += dS K                                       dSᵀ = Pᵀ (dPᵀ - delta)         dK += dSᵀ Q
//
// The next piece's S is issued behind a piece's last product, before anybody waits for that; dP runs under the exponentials. While one
// consumer is in those the other multiplies. delta, the sum over d of dO o, is formed by the dQ kernel, for both.
//
// Shared memory at 72 columns: dQ 55,296 bytes of Q, dO and o, six stages of K and V 110,592, zeros 1,024, column sums 4,608: 171,632 with the
// barriers. dK, dV: 36,864 of K and V, six stages of Q, dO and their statistics 113,664, zeros, sums 9,216: 160,880. One block an SM.
// Registers: 168 at launch; the producer gives back, so that a consumer has 240.
//
// No chip has timed them: they run where REPA_ATTENTION asks for them.
#include "cuda/attention_backward_tile.cuh"
#include "cuda/attention_stream_sm90.cuh"

namespace repa::cuda {

namespace {

constexpr int kPiece = 64, kStages = 6;  // rows that pass by at a time
constexpr int kSumBarrier = 1;           // named: the column sums of all consumers' warps are there

using Stage = PlaceInRing<kStages>;

/// Boxes of the rows that stay and of a piece, of qkv and of tensors of o's shape.
struct Maps {
  RowMaps qkvRows, dORows, oRows, qkvPiece, dOPiece;
};

/// Elements and floats of what lies in shared memory: kOwn tensors' rows that stay, two tensors' pieces with kStatistics floats a row, kSums
/// tensors' column sums; the barriers follow.
template <int kColumns, int kOwn, int kStatistics, int kSums>
struct Sizes {
  static constexpr int rows = kTileElements<kRows, kColumns>;
  static constexpr int piece = kTileElements<kPiece, kColumns>;
  static constexpr int zeros = kHasTail<kColumns> ? kTail * kPiece : 0;
  static constexpr int statistics = kStatistics * kPiece;
  static constexpr int sums = kSums * kConsumerWarps * kColumns;  // twice: of this tile, and of one that a warp may still be reading
  static constexpr size_t floatsAt = sizeof(bf16) * (kOwn * rows + 2 * kStages * piece + zeros);
  static constexpr size_t barriersAt = floatsAt + sizeof(float) * (kStages * statistics + 2 * sums);
  static constexpr size_t bytes = barriersAt + (2 + 2 * kStages) * sizeof(uint64_t);
  static_assert(bytes <= 227 * 1024);
};
template <int kColumns>
using QuerySizes = Sizes<kColumns, 3, 0, 1>;
template <int kColumns>
using KeySizes = Sizes<kColumns, 2, 2, 2>;

/// Where it lies.
template <class T, class Shared>
struct Places {
  unsigned char* const shared;

  __device__ __forceinline__ T* own(int tensor) const { return reinterpret_cast<T*>(shared) + tensor * Shared::rows; }
  __device__ __forceinline__ const T* zeros() const { return reinterpret_cast<T*>(shared + Shared::floatsAt) - Shared::zeros; }
  __device__ __forceinline__ T* piece(int stage, int tensor) const {
    return reinterpret_cast<T*>(shared + Shared::floatsAt) - Shared::zeros - (2 * (kStages - stage) - tensor) * Shared::piece;
  }
  __device__ __forceinline__ float* statistics(int stage) const {
    return reinterpret_cast<float*>(shared + Shared::floatsAt) + stage * Shared::statistics;
  }
  __device__ __forceinline__ float* sums(int visit) const { return statistics(kStages) + visit % 2 * Shared::sums; }
  __device__ __forceinline__ uint64_t* ownFull() const { return reinterpret_cast<uint64_t*>(shared + Shared::barriersAt); }
  __device__ __forceinline__ uint64_t* ownEmpty() const { return ownFull() + 1; }
  __device__ __forceinline__ uint64_t* full(int stage) const { return ownFull() + 2 + stage; }
  __device__ __forceinline__ uint64_t* empty(int stage) const { return full(kStages) + stage; }

  /// What a block begins with. `fillers`: arrivals that say that a stage has been filled.
  __device__ __forceinline__ void prepare(unsigned fillers) const {
    if (threadIdx.x == 0) {
      mbarrierInit(ownFull(), 1);
      mbarrierInit(ownEmpty(), kConsumerWarps);
      for (int stage = 0; stage < kStages; ++stage) {
        mbarrierInit(full(stage), fillers);
        mbarrierInit(empty(stage), kConsumerWarps);
      }
      fenceMbarrierInit();
    }
    T* const begin = reinterpret_cast<T*>(shared + Shared::floatsAt) - Shared::zeros;
    for (int i = threadIdx.x; i < Shared::zeros; i += kThreads) begin[i] = T{};
    fenceProxyAsync();
    __syncthreads();
  }
};

/// Issues d = left operands times the transpose of a piece of one of the tensors that pass by.
template <class T, int kColumns, class Shared>
__device__ __forceinline__ void multiplyPiece(float (&d)[kPiece / 2], const LeftOperands<kColumns>& left, const Places<T, Shared>& places,
                                              int stage, int tensor) {
  wgmmaFence();
  multiplyTransposed<T, kPiece, kColumns, kPiece>(d, left, places.piece(stage, tensor), 0, places.zeros());
  wgmmaCommit();
}

/// Issues sum += p, rounded, times a tensor of a piece, or = where it does not accumulate. p[j] becomes score(j), 16 of the piece's rows, a
/// step, at a time: the product of those before runs meanwhile. prepare(step) is called a step ahead, to read what score() needs of shared
/// memory: no reading passes the products that are issued in between.
template <class T, int kColumns, class Prepare, class Score>
__device__ __forceinline__ void multiplyScores(float (&sum)[1][kColumns / 2], uint32_t (&left)[kPiece / 16][4], float (&p)[kPiece / 2],
                                               const T* piece, bool accumulate, Prepare&& prepare, Score&& score) {
  const auto rows = sixteenRows<kPiece, kColumns>(piece, 0);
#pragma unroll
  for (int step = 0; step < kPiece / 16; ++step) {
    if (step + 1 < kPiece / 16) prepare(step + 1);
#pragma unroll
    for (int j = 8 * step; j < 8 * step + 8; ++j) p[j] = score(j);
    roundToLeft<T>(left[step], tilesOf(p)[2 * step], tilesOf(p)[2 * step + 1]);
    wgmmaFence();
    multiplyRows<T, kColumns>(sum[0], left[step], rows + 16 * step, accumulate || step > 0);
  }
  wgmmaCommit();
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attentionBackwardQueriesSm90Kernel(const __grid_constant__ Maps maps, AttentionBackward<T> a, Work work) {
  using Shared = QuerySizes<kColumns>;
  REPA_DYNAMIC_SHARED(shared);
  const Places<T, Shared> places{shared};
  places.prepare(1);

  if (threadIdx.x / kWarpgroup == kConsumers) {
    decreaseRegisters<kProducerRegisters>();
    if (threadIdx.x == kConsumers * kWarpgroup) {
      int piece = 0;
#pragma unroll 1
      for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
        const Head at(tile / work.blocks, a.heads);
        const int row = kRows * (tile % work.blocks), column = at.head * kColumns;
        mbarrierWait(places.ownEmpty(), (visit & 1) ^ 1);
        mbarrierArriveExpect(places.ownFull(), sizeof(T) * 3 * Shared::rows);
        loadBox<kRows, kColumns>(places.own(0), 0, maps.qkvRows, places.ownFull(), column, row, at.sample);
        loadBox<kRows, kColumns>(places.own(1), 0, maps.dORows, places.ownFull(), column, row, at.sample);
        loadBox<kRows, kColumns>(places.own(2), 0, maps.oRows, places.ownFull(), column, row, at.sample);
#pragma unroll 1
        for (int i = 0; i < work.pieces; ++i, ++piece) {
          const Stage to(piece);
          uint64_t* const full = places.full(to.stage);
          mbarrierWait(places.empty(to.stage), to.parity ^ 1);
          mbarrierArriveExpect(full, sizeof(T) * 2 * Shared::piece);
          for (int tensor = 0; tensor < 2; ++tensor)
            loadBox<kPiece, kColumns>(places.piece(to.stage, tensor), 0, maps.qkvPiece, full, ((kKey + tensor) * a.heads + at.head) * kColumns,
                                      kPiece * i, at.sample);
        }
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  int piece = 0;
#pragma unroll 1
  for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
    LeftOperands<kColumns> q, dO;
    float lse[2], delta[2];  // of rows g and g + 8
    {
      const Head at(tile / work.blocks, a.heads);
      const int lane = readThread() % 32, own = firstRowOfWarp(), first = kRows * (tile % work.blocks) + own;
      const int64_t statistics = int64_t{at.index} * a.tokens;
      mbarrierWait(places.ownFull(), visit & 1);
      q.template load<kRows>(places.own(0), own / kBlock * kBlock);
      dO.template load<kRows>(places.own(1), own / kBlock * kBlock);
      // Two lanes a row.
      const int row = own + lane / 2;
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kColumns / 8; i += 2) {
        if (const int unit = i + lane % 2; unit < kColumns / 8)
          sum += dotOfEight<T>(*reinterpret_cast<const uint4*>(unitOfTile<kRows, kColumns>(places.own(1), row, unit)),
                               *reinterpret_cast<const uint4*>(unitOfTile<kRows, kColumns>(places.own(2), row, unit)));
      }
      sum += __shfl_xor_sync(kAll, sum, 1);
      if (lane % 2 == 0 && first + lane / 2 < a.tokens) a.delta[statistics + first + lane / 2] = sum;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int ownRow = lane / 4 + 8 * half, query = first + ownRow;
        delta[half] = __shfl_sync(kAll, sum, 2 * ownRow);
        lse[half] = query < a.tokens ? a.lse[statistics + query] : INFINITY;
      }
      __syncwarp();
      release(places.ownEmpty());
    }

    float s[kPiece / 2], p[kPiece / 2], dP[kPiece / 2], dQ[1][kColumns / 2];
    uint32_t left[kPiece / 16][4];
    Stage at(piece);
    mbarrierWait(places.full(at.stage), at.parity);
    multiplyPiece<T>(s, q, places, at.stage, 0);
    wgmmaWait<0>();
    wgmmaHold(s);
#pragma unroll 1
    for (int i = 0; i < work.pieces; ++i) {
      multiplyPiece<T>(dP, dO, places, at.stage, 1);
#pragma unroll
      for (int j = 0; j < kPiece / 2; ++j) p[j] = exp2Approx(s[j] * a.scaleLog2 - lse[j / 2 % 2]);
      if (const int keys = a.tokens - kPiece * i; keys < kPiece) {
        const int t = readThread() % 4;
#pragma unroll
        for (int j = 0; j < kPiece / 2; ++j)
          if (j / 4 * 8 + 2 * t + j % 2 >= keys) p[j] = 0.0f;
      }
      wgmmaWait<0>();
      wgmmaHold(dP);
      multiplyScores<T, kColumns>(dQ, left, p, places.piece(at.stage, 0), i > 0, [](int) {},
                                  [&](int j) { return p[j] * (dP[j] - delta[j / 2 % 2]); });
      const Stage next(++piece);
      if (i + 1 < work.pieces) {
        mbarrierWait(places.full(next.stage), next.parity);
        multiplyPiece<T>(s, q, places, next.stage, 0);
      }
      wgmmaWait<0>();
      wgmmaHold(dQ[0]);
      wgmmaHold(s);
      release(places.empty(at.stage));
      at = next;
    }

    const Head head(tile / work.blocks, a.heads);
    const int block = tile % work.blocks;
    const float factor[2] = {a.scale, a.scale};
    storeRows(tilesOf(dQ)[0], factor, headOfQkv(a.dqkv, head, kQuery, a.tokens, a.heads, kColumns), kRows * block + firstRowOfWarp(), a.tokens,
              kColumns, true);
    if (!a.columnSums) continue;
    float* const sums = places.sums(visit);
    sumColumns(tilesOf(dQ), a.scale, [&](int warp, int column, float sum) { sums[warp * kColumns + column] = sum; });
    namedBarrierSync(kSumBarrier, kConsumers * kWarpgroup);
    if (const int column = readThread(); column < kColumns)
      storeColumnSum(a, head, int64_t{head.sample} * work.blocks + block, kQuery, column, kColumns, sumOfWarps<kConsumerWarps>(sums + column, kColumns));
  }
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    attentionBackwardKeysSm90Kernel(const __grid_constant__ Maps maps, AttentionBackward<T> a, Work work) {
  using Shared = KeySizes<kColumns>;
  REPA_DYNAMIC_SHARED(shared);
  const Places<T, Shared> places{shared};
  places.prepare(32);

  if (threadIdx.x / kWarpgroup == kConsumers) {
    decreaseRegisters<kProducerRegisters>();
    if (threadIdx.x < kConsumers * kWarpgroup + 32) {
      const int lane = laneId();
      int piece = 0;
#pragma unroll 1
      for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
        const Head at(tile / work.blocks, a.heads);
        const auto firstColumn = [&](QkvPart part) { return (part * a.heads + at.head) * kColumns; };
        if (lane == 0) {
          mbarrierWait(places.ownEmpty(), (visit & 1) ^ 1);
          mbarrierArriveExpect(places.ownFull(), sizeof(T) * 2 * Shared::rows);
          for (int tensor = 0; tensor < 2; ++tensor)
            loadBox<kRows, kColumns>(places.own(tensor), 0, maps.qkvRows, places.ownFull(), firstColumn(tensor == 0 ? kKey : kValue),
                                     kRows * (tile % work.blocks), at.sample);
        }
#pragma unroll 1
        for (int i = 0; i < work.pieces; ++i, ++piece) {
          // Asked for before the stage is waited for: lse, infinite for what is no query.
          float lse[2], delta[2];
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int query = kPiece * i + 2 * lane + j;
            const int64_t index = int64_t{at.index} * a.tokens + query;
            lse[j] = query < a.tokens ? a.lse[index] : INFINITY;
            delta[j] = query < a.tokens ? a.delta[index] : 0.0f;
          }
          const Stage to(piece);
          uint64_t* const full = places.full(to.stage);
          mbarrierWait(places.empty(to.stage), to.parity ^ 1);
          float2* const statistics = reinterpret_cast<float2*>(places.statistics(to.stage));
          statistics[lane] = make_float2(lse[0], lse[1]);
          statistics[kPiece / 2 + lane] = make_float2(delta[0], delta[1]);
          if (lane == 0) {
            mbarrierArriveExpect(full, sizeof(T) * 2 * Shared::piece);
            loadBox<kPiece, kColumns>(places.piece(to.stage, 0), 0, maps.qkvPiece, full, firstColumn(kQuery), kPiece * i, at.sample);
            loadBox<kPiece, kColumns>(places.piece(to.stage, 1), 0, maps.dOPiece, full, at.head * kColumns, kPiece * i, at.sample);
          } else {
            mbarrierArrive(full);
          }
        }
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  int piece = 0;
#pragma unroll 1
  for (int tile = blockIdx.x, visit = 0; tile < work.tiles; tile += gridDim.x, ++visit) {
    LeftOperands<kColumns> k, v;
    mbarrierWait(places.ownFull(), visit & 1);
    k.template load<kRows>(places.own(0), firstRowOfWarp() / kBlock * kBlock);
    v.template load<kRows>(places.own(1), firstRowOfWarp() / kBlock * kBlock);
    __syncwarp();
    release(places.ownEmpty());

    float s[kPiece / 2], p[kPiece / 2], dP[kPiece / 2], dK[1][kColumns / 2], dV[1][kColumns / 2];
    uint32_t leftOfValues[kPiece / 16][4], leftOfKeys[kPiece / 16][4];
    const int keys = a.tokens - kRows * (tile % work.blocks) - firstRowOfWarp();  // of the warp's 16
    Stage at(piece);
    mbarrierWait(places.full(at.stage), at.parity);
    multiplyPiece<T>(s, k, places, at.stage, 0);
    wgmmaWait<0>();
    wgmmaHold(s);
#pragma unroll 1
    for (int i = 0; i < work.pieces; ++i) {
      const float* const statistics = places.statistics(at.stage) + 2 * (readThread() % 4);
      if (keys < 16) {
        const int g = readThread() % 32 / 4;
#pragma unroll
        for (int j = 0; j < kPiece / 2; ++j)
          if (g + 8 * (j / 2 % 2) >= keys) s[j] = -INFINITY;
      }
      multiplyPiece<T>(dP, v, places, at.stage, 1);
      float2 logarithms[kPiece / 8], means[kPiece / 8];
      const auto loadStep = [&](float2(&to)[kPiece / 8], const float* from, int step) {
#pragma unroll
        for (int column = 2 * step; column < 2 * step + 2; ++column) to[column] = *reinterpret_cast<const float2*>(from + 8 * column);
      };
      loadStep(logarithms, statistics, 0);
      multiplyScores<T, kColumns>(
          dV, leftOfValues, p, places.piece(at.stage, 1), i > 0, [&](int step) { loadStep(logarithms, statistics, step); },
          [&](int j) { return exp2Approx(s[j] * a.scaleLog2 - (j % 2 == 0 ? logarithms[j / 4].x : logarithms[j / 4].y)); });
      loadStep(means, statistics + kPiece, 0);
      wgmmaWait<1>();
      wgmmaHold(dP);
      multiplyScores<T, kColumns>(
          dK, leftOfKeys, p, places.piece(at.stage, 0), i > 0, [&](int step) { loadStep(means, statistics + kPiece, step); },
          [&](int j) { return p[j] * (dP[j] - (j % 2 == 0 ? means[j / 4].x : means[j / 4].y)); });
      const Stage next(++piece);
      if (i + 1 < work.pieces) {
        mbarrierWait(places.full(next.stage), next.parity);
        multiplyPiece<T>(s, k, places, next.stage, 0);
      }
      wgmmaWait<0>();
      wgmmaHold(dK[0]);
      wgmmaHold(dV[0]);
      wgmmaHold(s);
      __syncwarp();  // all lanes have read the statistics
      release(places.empty(at.stage));
      at = next;
    }

    const Head head(tile / work.blocks, a.heads);
    const int block = tile % work.blocks, first = kRows * block + firstRowOfWarp();
    const float ofK[2] = {a.scale, a.scale}, ofV[2] = {1.0f, 1.0f};
    storeRows(tilesOf(dK)[0], ofK, headOfQkv(a.dqkv, head, kKey, a.tokens, a.heads, kColumns), first, a.tokens, kColumns, true);
    storeRows(tilesOf(dV)[0], ofV, headOfQkv(a.dqkv, head, kValue, a.tokens, a.heads, kColumns), first, a.tokens, kColumns, true);
    if (!a.columnSums) continue;
    float* const sums = places.sums(visit);
    sumColumns(tilesOf(dK), a.scale, [&](int warp, int column, float sum) { sums[warp * 2 * kColumns + column] = sum; });
    sumColumns(tilesOf(dV), 1.0f, [&](int warp, int column, float sum) { sums[(warp * 2 + 1) * kColumns + column] = sum; });
    namedBarrierSync(kSumBarrier, kConsumers * kWarpgroup);
    if (const int i = readThread(); i < 2 * kColumns)
      storeColumnSum(a, head, int64_t{head.sample} * work.blocks + block, i < kColumns ? kKey : kValue, i % kColumns, kColumns,
                     sumOfWarps<kConsumerWarps>(sums + i, 2 * kColumns));
  }
}

}  // namespace

template <class T>
bool attentionBackwardStreamedSm90(cudaStream_t stream, const AttentionBackward<T>& a) {
  const auto run = [&]<int kColumns>() {
    static_assert(kRows == streamedRowsOfBlock(kColumns), "a part of the column sums is a block's");
    const int64_t width = int64_t{a.heads} * kColumns;
    const auto boxes = [&](const T* base, int64_t columns, int rows) { return rowMaps<kColumns>(base, a.batch, a.tokens, columns, rows); };
    const Maps maps = {.qkvRows = boxes(a.qkv, 3 * width, kRows),
                       .dORows = boxes(a.dO, width, kRows),
                       .oRows = boxes(a.o, width, kRows),
                       .qkvPiece = boxes(a.qkv, 3 * width, kPiece),
                       .dOPiece = boxes(a.dO, width, kPiece)};
    const Work work = workOf(a, kPiece);
    launch(stream, attentionBackwardQueriesSm90Kernel<T, kColumns>, shapeOf(work, QuerySizes<kColumns>::bytes), maps, a, work);
    launch(stream, attentionBackwardKeysSm90Kernel<T, kColumns>, shapeOf(work, KeySizes<kColumns>::bytes), maps, a, work);
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

template bool attentionBackwardStreamedSm90(cudaStream_t, const AttentionBackward<bf16>&);
template bool attentionBackwardStreamedSm90(cudaStream_t, const AttentionBackward<f16>&);

}  // namespace repa::cuda
