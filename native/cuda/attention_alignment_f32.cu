// How far a model's attention is from a teacher's, in f32 on FMAs (attention_f32_tile.cuh). Without atomics: every sum has one order.
//
//   queries  a block is 32 queries of a head; keys pass by 32 at a time, twice: for the logarithms of the sums of both exponentials, then for
//            P* S, which the loss is made of, and dQ = (P - P*) K. Leaves the logarithms for
//   keys     a block is 32 keys; all queries pass by, and dK stays in registers
#include "cuda/attention_alignment_arguments.h"
#include "cuda/attention_f32_tile.cuh"
#include "cuda/block_sum.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kRows = 2;
constexpr int kBlock = 16 * kRows;
static_assert(kBlock == kKeys && kBlock == alignedRowsOfBlock(true));

/// The model's and the teacher's rows that stay and that pass by, a tile of dS, and the logarithms of the queries that pass by.
template <int kColumns>
struct Tiles {
  static constexpr int kFloatsOfRows = kBlock * kRowPitch<kColumns>;
  static constexpr size_t kBytes = sizeof(float) * (4 * kFloatsOfRows + kBlock * kScorePitch + 2 * kBlock);
  float* const own;
  float* const teacher = own + kFloatsOfRows;
  float* const passing = teacher + kFloatsOfRows;
  float* const passingTeacher = passing + kFloatsOfRows;
  float* const dS = passingTeacher + kFloatsOfRows;
  float* const lse = dS + kBlock * kScorePitch;
  float* const teacherLse = lse + kBlock;

  __device__ __forceinline__ explicit Tiles(unsigned char* shared) : own(reinterpret_cast<float*>(shared)) {}
};

/// Copies rows of both, of queries, which come times their scale, or of keys.
template <int kColumns>
__device__ __forceinline__ void loadBoth(const AttentionAlignment<float>& a, const Head& at, QkvPart part, float* own, float* teacher, int first) {
  const bool scaled = part == kQuery;
  loadFloatRows<kColumns>(own, ownRows(a, at, part), first, kBlock, a.tokens, a.headDim, scaled ? a.scaleLog2 : 1.0f);
  loadFloatRows<kColumns>(teacher, teacherRows(a, at, part), first, kBlock, a.tokens, a.teacherDim, scaled ? a.teacherScaleLog2 : 1.0f);
}

/// The sum of the exponentials to the base 2 of what has been added, by its largest; the same in the eight threads of a row once `total`
/// has been asked for.
struct LogSum {
  float maximum = -3e38f;  // not -inf, of which a difference would be NaN
  float sum = 0.0f;

  __device__ __forceinline__ void add(float s) {
    const float top = fmaxf(maximum, s);
    // A NaN stays one.
    sum = s == s ? sum * exp2f(maximum - top) + exp2f(s - top) : s;
    maximum = top;
  }
  __device__ __forceinline__ float total() const {
    float top = maximum;
    for (int distance = 1; distance < 8; distance *= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, distance));
    return top + log2f(sumOfRow(sum * exp2f(maximum - top)));
  }
};

template <int kColumns>
__global__ void __launch_bounds__(kThreads, 3) alignQueriesF32Kernel(AttentionAlignment<float> a) {
  REPA_DYNAMIC_SHARED(shared);
  const Tiles<kColumns> tile(shared);
  const int tokens = a.tokens;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.aligned);
  const int first = static_cast<int>(blockIdx.x % blocks) * kBlock;

  loadBoth<kColumns>(a, at, kQuery, tile.own, tile.teacher, first);
  const auto scores = [&](float(&s)[kRows][4], float(&teacher)[kRows][4], int firstKey) {
    __syncthreads();
    loadBoth<kColumns>(a, at, kKey, tile.passing, tile.passingTeacher, firstKey);
    __syncthreads();
    dotRows<kColumns>(s, tile.own, tile.passing, a.headDim);
    dotRows<kColumns>(teacher, tile.teacher, tile.passingTeacher, a.teacherDim);
  };
  LogSum own[kRows], teachers[kRows];
  for (int firstKey = 0; firstKey < tokens; firstKey += kKeys) {
    float s[kRows][4] = {}, teacher[kRows][4] = {};
    scores(s, teacher, firstKey);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (firstKey + threadX() + 8 * j < tokens) {
          own[i].add(s[i][j]);
          teachers[i].add(teacher[i][j]);
        }
  }
  float lse[kRows], teacherLse[kRows], cross[kRows] = {}, dQ[kRows][kColumns / 32][4] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    lse[i] = own[i].total();
    teacherLse[i] = teachers[i].total();
    const int row = first + kRows * threadY() + i;
    if (threadX() == 0 && row < tokens) {
      a.lseOf(at)[row] = lse[i];
      a.teacherLseOf(at)[row] = teacherLse[i];
    }
  }
  for (int firstKey = 0; firstKey < tokens; firstKey += kKeys) {
    float s[kRows][4] = {}, teacher[kRows][4] = {};
    scores(s, teacher, firstKey);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool inside = firstKey + threadX() + 8 * j < tokens;
        const float target = inside ? exp2f(teacher[i][j] - teacherLse[i]) : 0.0f;
        cross[i] += target * s[i][j];
        s[i][j] = inside ? exp2f(s[i][j] - lse[i]) - target : 0.0f;
      }
    if (!a.gradient) continue;
    keepScores(tile.dS, s);
    __syncwarp();  // a warp's rows of dS are its own
    sumRows<kColumns>(dQ, tile.dS, tile.passing);
  }
  double loss = 0;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float sum = sumOfRow(cross[i]);
    if (threadX() == 0 && first + kRows * threadY() + i < tokens) loss += kLn2 * (lse[i] - sum);
  }
  loss = blockSum<kThreads>(loss);
  if (threadIdx.x == 0) a.losses[blockIdx.x] = loss;
  if (!a.gradient) return;
  const float factor[kRows] = {a.factor(), a.factor()};
  storeFloatRows<kColumns>(dQ, factor, gradientRows(a, at, kQuery), first, tokens, a.headDim);
}

template <int kColumns>
__global__ void __launch_bounds__(kThreads, 3) alignKeysF32Kernel(AttentionAlignment<float> a) {
  REPA_DYNAMIC_SHARED(shared);
  const Tiles<kColumns> tile(shared);
  const int tokens = a.tokens;
  const unsigned blocks = (tokens + kBlock - 1) / kBlock;
  const Head at(blockIdx.x / blocks, a.aligned);
  const int first = static_cast<int>(blockIdx.x % blocks) * kBlock;

  loadBoth<kColumns>(a, at, kKey, tile.own, tile.teacher, first);
  float dK[kRows][kColumns / 32][4] = {};
  for (int firstQuery = 0; firstQuery < tokens; firstQuery += kBlock) {
    __syncthreads();
    if (threadIdx.x < kBlock) {
      const int row = firstQuery + static_cast<int>(threadIdx.x);
      // Both P are 0 of what is no query.
      tile.lse[threadIdx.x] = row < tokens ? a.lseOf(at)[row] : INFINITY;
      tile.teacherLse[threadIdx.x] = row < tokens ? a.teacherLseOf(at)[row] : INFINITY;
    }
    loadBoth<kColumns>(a, at, kQuery, tile.passing, tile.passingTeacher, firstQuery);
    __syncthreads();
    float s[kRows][4] = {}, teacher[kRows][4] = {};
    dotRows<kColumns>(s, tile.own, tile.passing, a.headDim);
    dotRows<kColumns>(teacher, tile.teacher, tile.passingTeacher, a.teacherDim);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int query = threadX() + 8 * j;
        s[i][j] = exp2f(s[i][j] - tile.lse[query]) - exp2f(teacher[i][j] - tile.teacherLse[query]);
      }
    keepScores(tile.dS, s);
    __syncwarp();
    sumRows<kColumns>(dK, tile.dS, tile.passing);
  }
  // The queries came times scale log2 e.
  const float ln2 = kLn2 * a.factor() / a.scale, factor[kRows] = {ln2, ln2};
  storeFloatRows<kColumns>(dK, factor, gradientRows(a, at, kKey), first, tokens, a.headDim);
}

}  // namespace

void attentionAlignmentF32(cudaStream_t stream, const AttentionAlignment<float>& a) {
  const dim3 grid(gridOf(a.batch, a.aligned, a.tokens, kBlock));
  withColumns(a.headDim > a.teacherDim ? a.headDim : a.teacherDim, [&]<int kColumns>() {
    const LaunchShape shape{.grid = grid, .block = dim3(kThreads), .sharedBytes = Tiles<kColumns>::kBytes};
    launch(stream, alignQueriesF32Kernel<kColumns>, shape, a);
    if (a.gradient) launch(stream, alignKeysF32Kernel<kColumns>, shape, a);
  });
}

}  // namespace repa::cuda
