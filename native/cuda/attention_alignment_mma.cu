// How far a model's attention is from a teacher's, in bf16 and f16 on tensor cores (attention_tile.cuh), any size. Two kernels, so that each
// sum has one owner and needs no atomics; S and S* are made three times for it.
//
//   queries  a block is 64 queries of a head, 16 a warp; all keys pass by, 32 at a time, twice:
//              once     for the logarithms of the sums of both exponentials, by a running maximum of each lane's own
//              again    for P* S, which the loss is made of, and, where it is wanted, dQ += (P - P*) K, from accumulators to left operands
//            leaves the logarithms for
//   keys     a block is 64 keys; all queries pass by: dK += transpose(P - P*) Q
//
//                 shared memory:   model's 64 rows | teacher's 64 rows | 2 stages of (model's 32 | teacher's 32)
//
// What passes by does so through two stages, the next while this one is worked on: one barrier a stage. The teacher's rows are padded to the
// model's columns where they have fewer (64 to 72 with an XL), zeros that no sum sees: 37 KB at 72 columns.
#include "cuda/attention_alignment_arguments.h"
#include "cuda/attention_tile.cuh"
#include "cuda/block_sum.h"
#include "cuda/blocks.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kBlock = alignedRowsOfBlock(false);
constexpr int kPassing = 32;
constexpr int kTiles = kPassing / 8;
static_assert(kBlock == 16 * kWarps);

/// The tiles, and two floats for each row that passes by.
template <int kColumns>
constexpr size_t sharedBytes() {
  return sizeof(bf16) * kPitch<kColumns> * 2 * (kBlock + 2 * kPassing) + sizeof(float) * 4 * kPassing;
}

/// The model's and the teacher's rows that stay, and two stages of those that pass by.
template <class T, int kColumns>
struct Tiles {
  T* const own;
  T* const teacher;

  __device__ __forceinline__ explicit Tiles(unsigned char* shared)
      : own(reinterpret_cast<T*>(shared)), teacher(own + kBlock * kPitch<kColumns>) {}
  __device__ __forceinline__ T* passing(int stage) const { return teacher + (kBlock + stage % 2 * 2 * kPassing) * kPitch<kColumns>; }
  __device__ __forceinline__ T* passingTeacher(int stage) const { return passing(stage) + kPassing * kPitch<kColumns>; }
  /// The logarithms of the queries that pass by, the model's and the teacher's.
  __device__ __forceinline__ float* logarithms(int stage) const {
    return reinterpret_cast<float*>(passing(0) + 4 * kPassing * kPitch<kColumns>) + stage % 2 * 2 * kPassing;
  }
};

/// Begins to copy rows of both, of queries or of keys.
template <int kColumns, class T>
__device__ __forceinline__ void loadBoth(const AttentionAlignment<T>& a, const Head& at, QkvPart part, T* own, T* teacher, int first, int count) {
  loadRows<kColumns>(own, ownRows(a, at, part), first, count, a.tokens, a.headDim, a.areAligned, threadIdx.x, kThreads);
  loadRows<kColumns>(teacher, teacherRows(a, at, part), first, count, a.tokens, a.teacherDim, a.areAligned, threadIdx.x, kThreads);
}

/// Sums of exponentials to the base 2 of a lane's two rows, by their largest.
struct LogSums {
  float maximum[2] = {-3e38f, -3e38f};  // not -inf, of which a difference would be NaN
  float sum[2] = {};

  /// Adds the numbers of the lane's columns that are below `keys`, times c.
  __device__ __forceinline__ void add(const float (&s)[kTiles][4], float c, int keys) {
    const int column = laneId() % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = maximum[half];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          if (8 * tile + column + i < keys) top = fmaxf(top, s[tile][2 * half + i] * c);
      float total = sum[half] * exp2Approx(maximum[half] - top);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          if (8 * tile + column + i < keys) total += exp2Approx(s[tile][2 * half + i] * c - top);
      maximum[half] = top;
      sum[half] = total;
    }
  }
  /// The logarithm of a row's whole sum, the same in the four lanes that share it.
  __device__ __forceinline__ float total(int half) const {
    float top = maximum[half];
    for (int distance = 1; distance < 4; distance *= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, distance));
    float whole = sum[half] * exp2Approx(maximum[half] - top);
    for (int distance = 1; distance < 4; distance *= 2) whole += __shfl_xor_sync(kAll, whole, distance);
    return top + log2f(whole);
  }
};

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 2) alignQueriesKernel(AttentionAlignment<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>;
  const Tiles<T, kColumns> tile(shared);
  const int tokens = a.tokens, stages = (tokens + kPassing - 1) / kPassing;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.aligned);
  const int firstOfBlock = static_cast<int>(blockIdx.x % blocks) * kBlock;
  const auto loadStage = [&](int stage) {
    loadBoth<kColumns>(a, at, kKey, tile.passing(stage), tile.passingTeacher(stage), kPassing * (stage % stages), kPassing);
    cpAsyncCommit();
  };
  loadBoth<kColumns>(a, at, kQuery, tile.own, tile.teacher, firstOfBlock, kBlock);
  loadStage(0);

  const int first = firstOfBlock + 16 * warpId();
  const bool some = first < tokens;  // the same in the whole warp
  const T* const q = tile.own + (first - firstOfBlock) * pitch;
  const T* const teacherQ = tile.teacher + (first - firstOfBlock) * pitch;
  const float c = a.scaleLog2, teacherC = a.teacherScaleLog2;
  LogSums own, teachers;
  float lse[2], teacherLse[2], cross[2] = {}, dQ[1][kColumns / 8][4] = {};
  // The keys pass by twice, in one run of stages.
#pragma unroll 1
  for (int stage = 0; stage < 2 * stages; ++stage) {
    cpAsyncWait<0>();
    __syncthreads();  // this stage has come, and nobody reads the other one any more
    if (stage + 1 < 2 * stages) loadStage(stage + 1);
    if (!some) continue;
    if (stage == stages) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        lse[half] = own.total(half);
        teacherLse[half] = teachers.total(half);
        const int row = first + laneId() / 4 + 8 * half;
        if (laneId() % 4 == 0 && row < tokens) {
          a.lseOf(at)[row] = lse[half];
          a.teacherLseOf(at)[row] = teacherLse[half];
        }
      }
    }
    float s[1][kTiles][4] = {}, teacher[1][kTiles][4] = {};
    multiplyByRows<T, kColumns>(s, q, tile.passing(stage));
    multiplyByRows<T, kColumns>(teacher, teacherQ, tile.passingTeacher(stage));
    const int keys = tokens - kPassing * (stage % stages);
    if (stage < stages) {
      own.add(s[0], c, keys);
      teachers.add(teacher[0], teacherC, keys);
      continue;
    }
#pragma unroll
    for (int column = 0; column < kTiles; ++column)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const bool inside = 8 * column + laneId() % 4 * 2 + r % 2 < keys;
        const float logarithm = s[0][column][r] * c;
        const float target = inside ? exp2Approx(teacher[0][column][r] * teacherC - teacherLse[r / 2]) : 0.0f;
        cross[r / 2] += target * logarithm;
        s[0][column][r] = inside ? exp2Approx(logarithm - lse[r / 2]) - target : 0.0f;
      }
    if (!a.gradient) continue;
#pragma unroll
    for (int step = 0; step < kPassing / 16; ++step) {
      uint32_t dS[1][4];
      roundToLeft<T>(dS[0], s[0][2 * step], s[0][2 * step + 1]);
      multiplyRows<T, kColumns>(dQ, dS, tile.passing(stage) + 16 * step * pitch);
    }
  }
  double loss = 0;
  if (some) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = cross[half];
      for (int distance = 1; distance < 4; distance *= 2) sum += __shfl_xor_sync(kAll, sum, distance);
      if (laneId() % 4 == 0 && first + laneId() / 4 + 8 * half < tokens) loss += kLn2 * (lse[half] - sum);
    }
    if (a.gradient) {
      const float factor[2] = {a.factor(), a.factor()};
      storeRows(dQ[0], factor, gradientRows(a, at, kQuery), first, tokens, a.headDim, a.areAligned);
    }
  }
  loss = blockSum<kThreads>(loss);
  if (threadIdx.x == 0) a.losses[blockIdx.x] = loss;
}

template <class T, int kColumns>
__global__ void __launch_bounds__(kThreads, 2) alignKeysKernel(AttentionAlignment<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>;
  const Tiles<T, kColumns> tile(shared);
  const int tokens = a.tokens, stages = (tokens + kPassing - 1) / kPassing;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.aligned);
  const int firstOfBlock = static_cast<int>(blockIdx.x % blocks) * kBlock;
  const auto loadStage = [&](int stage) {
    loadBoth<kColumns>(a, at, kQuery, tile.passing(stage), tile.passingTeacher(stage), kPassing * stage, kPassing);
    if (threadIdx.x < kPassing) {
      const int query = kPassing * stage + static_cast<int>(threadIdx.x);
      // Both P are 0 of what is no query.
      tile.logarithms(stage)[threadIdx.x] = query < tokens ? a.lseOf(at)[query] : INFINITY;
      tile.logarithms(stage)[kPassing + threadIdx.x] = query < tokens ? a.teacherLseOf(at)[query] : INFINITY;
    }
    cpAsyncCommit();
  };
  loadBoth<kColumns>(a, at, kKey, tile.own, tile.teacher, firstOfBlock, kBlock);
  loadStage(0);

  const int first = firstOfBlock + 16 * warpId();
  const bool some = first < tokens;
  const T* const k = tile.own + (first - firstOfBlock) * pitch;
  const T* const teacherK = tile.teacher + (first - firstOfBlock) * pitch;
  float dK[1][kColumns / 8][4] = {};
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    cpAsyncWait<0>();
    __syncthreads();  // this stage has come, and nobody reads the other one any more
    if (stage + 1 < stages) loadStage(stage + 1);
    if (!some) continue;
    const T* const q = tile.passing(stage);
    float s[1][kTiles][4] = {}, teacher[1][kTiles][4] = {};
    multiplyByRows<T, kColumns>(s, k, q);
    multiplyByRows<T, kColumns>(teacher, teacherK, tile.passingTeacher(stage));
#pragma unroll
    for (int column = 0; column < kTiles; ++column) {
      const float* const logarithms = tile.logarithms(stage) + 8 * column + laneId() % 4 * 2;
      const float2 lse = *reinterpret_cast<const float2*>(logarithms);
      const float2 teacherLse = *reinterpret_cast<const float2*>(logarithms + kPassing);
#pragma unroll
      for (int r = 0; r < 4; ++r)
        s[0][column][r] = exp2Approx(s[0][column][r] * a.scaleLog2 - (r % 2 == 0 ? lse.x : lse.y)) -
                          exp2Approx(teacher[0][column][r] * a.teacherScaleLog2 - (r % 2 == 0 ? teacherLse.x : teacherLse.y));
    }
#pragma unroll
    for (int step = 0; step < kPassing / 16; ++step) {
      uint32_t dS[1][4];
      roundToLeft<T>(dS[0], s[0][2 * step], s[0][2 * step + 1]);
      multiplyRows<T, kColumns>(dK, dS, q + 16 * step * pitch);
    }
  }
  if (!some) return;
  const float factor[2] = {a.factor(), a.factor()};
  storeRows(dK[0], factor, gradientRows(a, at, kKey), first, tokens, a.headDim, a.areAligned);
}

}  // namespace

template <class T>
void attentionAlignmentMma(cudaStream_t stream, const AttentionAlignment<T>& a) {
  const auto run = [&]<int kColumns>() {
    const int64_t blocks = (a.tokens + kBlock - 1) / kBlock;
    const LaunchShape shape{.grid = dim3(blocksFor(a.batch * a.aligned * blocks, 1)), .block = dim3(kThreads), .sharedBytes = sharedBytes<kColumns>()};
    launch(stream, alignQueriesKernel<T, kColumns>, shape, a);
    if (a.gradient) launch(stream, alignKeysKernel<T, kColumns>, shape, a);
  };
  const int columns = a.headDim > a.teacherDim ? a.headDim : a.teacherDim;
  if (columns <= 32) run.template operator()<32>();
  else if (columns <= 64) run.template operator()<64>();
  else if (columns <= 72) run.template operator()<72>();
  else if (columns <= 96) run.template operator()<96>();
  else run.template operator()<128>();
}

template void attentionAlignmentMma(cudaStream_t, const AttentionAlignment<bf16>&);
template void attentionAlignmentMma(cudaStream_t, const AttentionAlignment<f16>&);

}  // namespace repa::cuda
