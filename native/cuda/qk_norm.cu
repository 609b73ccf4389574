// LayerNorm or RMSNorm over head_dim of every query and key of a packed qkv; values pass.
//
//   n = (x - mean) rstd      y = n weight + bias
//   dn = dy weight           dx = rstd (dn - mean(dn) - n mean(dn n))      dWeight = sum of dy n      dBias = sum of dy
//
// An RMSNorm (not centred) has neither mean, which is 0, nor mean(dn), nor bias.
//
// Bound by memory. A warp takes a row of head_dim elements, four neighbouring ones a lane as one access, and so of the parameters and of
// their sums (one element where d is no multiple of 4 or a tensor is not aligned); it reads a row again rather than hold it, which L1
// answers, so that any d is legal. qkv is [tokens, 3, H, d] and contiguous: row r begins at r d, and r says which token, part and head it is.
// Rows of up to 128 elements, those of every model here, have kernels of their own: qk_norm_short.cuh.
//
// The parameters' gradients, without atomics: a block takes a run of rows that depends on the sizes alone; each of its warps adds the
// rows that it meets to sums of its own in shared memory, [4, d] by columns that belong to one lane; the block adds its warps' in
// order; and a second kernel the blocks', in order, in double.
#include "cuda/qk_norm.h"

#include <algorithm>

#include "core/error_code.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/qk_norm_short.cuh"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

/// Calls body(c) for the first of every kWidth columns that are the lane's.
template <int kWidth, class Body>
__device__ __forceinline__ void eachColumn(int d, Body&& body) {
  for (int c = static_cast<int>(threadIdx.x % 32) * kWidth; c < d; c += 32 * kWidth) body(c);
}

/// Which row of qkv's [tokens, 3, H]; its mean and rstd are at `statistic` of [tokens, 2, H].
struct Row {
  int part;
  int64_t statistic;

  __device__ __forceinline__ Row(int64_t row, int heads)
      : part(static_cast<int>(row / heads % 3)), statistic((row / heads / 3 * 2 + part) * heads + row % heads) {}
};

template <class T, int kWidth>
__device__ __forceinline__ void copyRow(const T* from, T* to, int d) {
  eachColumn<kWidth>(d,
                     [&](int c) { *reinterpret_cast<Vector<T, kWidth>*>(to + c) = *reinterpret_cast<const Vector<T, kWidth>*>(from + c); });
}

// ---- Forward.

template <class T, int kWidth>
__global__ void __launch_bounds__(32 * kMostWarps, 6) qkNormKernel(const T* qkv, ForwardParameters parameters, T* normed, float* mean,
                                                                   float* rstd, int64_t rows, int heads, int d, bool centred, float epsilon) {
  const int64_t row = int64_t{blockIdx.x} * kMostWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const Row at(row, heads);
  const T* const x = qkv + row * d;
  T* const y = normed + row * d;
  if (at.part == 2) return copyRow<T, kWidth>(x, y, d);

  float sum = 0.0f, squares = 0.0f, values[kWidth];
  eachColumn<kWidth>(d, [&](int c) {
    load(values, x + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += values[i];
  });
  const float centre = centred ? warpSum(sum) / static_cast<float>(d) : 0.0f;
  eachColumn<kWidth>(d, [&](int c) {
    load(values, x + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) squares += (values[i] - centre) * (values[i] - centre);
  });
  const float factor = 1.0f / sqrtf(warpSum(squares) / static_cast<float>(d) + epsilon);
  const float* const weight = at.part == 0 ? parameters.qWeight : parameters.kWeight;
  const float* const bias = at.part == 0 ? parameters.qBias : parameters.kBias;
  eachColumn<kWidth>(d, [&](int c) {
    float scales[kWidth];
    load(values, x + c);
    load(scales, weight + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] = (values[i] - centre) * factor * scales[i];
    if (bias) {
      float shifts[kWidth];
      load(shifts, bias + c);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values[i] += shifts[i];
    }
    store(y + c, values);
  });
  if (threadIdx.x % 32 == 0) {
    mean[at.statistic] = centre;
    rstd[at.statistic] = factor;
  }
}

// ---- Backward.

/// Rows, and warps with room for their sums, of a block.
struct BackwardPlan {
  static constexpr int64_t kFewestRows = 64;
  static constexpr int64_t kMostBlocks = 528;  // 4 on each of 132 SMs
  static constexpr int kMostFloats = 24 * 1024;  // 96 KB, which every chip has

  int64_t rowsOfBlock;
  int64_t blocks;
  int warps;

  BackwardPlan(int64_t rows, int64_t d)
      : rowsOfBlock(std::max(kFewestRows, (rows + kMostBlocks - 1) / kMostBlocks)),
        blocks((rows + rowsOfBlock - 1) / rowsOfBlock),
        warps(static_cast<int>(std::min<int64_t>(kMostWarps, kMostFloats / std::max<int64_t>(1, 4 * d)))) {}
};

/// partials [blocks, 4, d]: dqWeight, dqBias, dkWeight, dkBias of the block's rows.
template <class T, int kWidth>
__global__ void __launch_bounds__(32 * kMostWarps, 4)
    qkNormBackwardKernel(const T* dNormed, const T* qkv, const float* qWeight, const float* kWeight, const float* mean, const float* rstd,
                         T* dqkv, float* partials, int64_t rows, int64_t rowsOfBlock, int heads, int d, bool centred) {
  REPA_DYNAMIC_SHARED(shared);
  const int warps = blockDim.x / 32, warp = threadIdx.x / 32;
  float* const sums = reinterpret_cast<float*>(shared);
  float* const own = sums + warp * 4 * d;
  for (int c = threadIdx.x % 32; c < 4 * d; c += 32) own[c] = 0.0f;
  __syncwarp();

  const int64_t first = blockIdx.x * rowsOfBlock, end = first + rowsOfBlock < rows ? first + rowsOfBlock : rows;
  for (int64_t row = first + warp; row < end; row += warps) {
    const Row at(row, heads);
    const T* const x = qkv + row * d;
    const T* const dy = dNormed + row * d;
    T* const dx = dqkv + row * d;
    if (at.part == 2) {
      copyRow<T, kWidth>(dy, dx, d);
      continue;
    }
    const float centre = mean[at.statistic], factor = rstd[at.statistic];
    const float* const weight = at.part == 0 ? qWeight : kWeight;
    float* const dWeight = own + 2 * at.part * d;
    float* const dBias = dWeight + d;
    float sum = 0.0f, sumWithN = 0.0f, values[kWidth], gradients[kWidth], scales[kWidth];
    eachColumn<kWidth>(d, [&](int c) {
      float weightSums[kWidth], biasSums[kWidth];
      load(values, x + c);
      load(gradients, dy + c);
      load(scales, weight + c);
      load(weightSums, dWeight + c);
      load(biasSums, dBias + c);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float n = (values[i] - centre) * factor, dn = gradients[i] * scales[i];
        sum += dn;
        sumWithN += dn * n;
        weightSums[i] += gradients[i] * n;
        biasSums[i] += gradients[i];
      }
      storeStruct(dWeight + c, weightSums);
      storeStruct(dBias + c, biasSums);
    });
    const float meanDn = centred ? warpSum(sum) / static_cast<float>(d) : 0.0f, meanDnN = warpSum(sumWithN) / static_cast<float>(d);
    eachColumn<kWidth>(d, [&](int c) {
      load(values, x + c);
      load(gradients, dy + c);
      load(scales, weight + c);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float n = (values[i] - centre) * factor;
        values[i] = factor * (gradients[i] * scales[i] - meanDn - n * meanDnN);
      }
      store(dx + c, values);
    });
  }
  __syncthreads();
  addWarpSums(sums, warps, d, partials);
}

constexpr int kSumColumns = 32, kSumSlices = 8;

constexpr int kSums = 4;  // weight and bias of the queries, of the keys

/// 32 of the d columns a block: 8 warps add a slice of the blocks' sums each, and the slices are added in order. A column's four sums have
/// one thread, as two of them may accumulate in one place: queries and keys that share a weight.
__global__ void __launch_bounds__(kSumColumns * kSumSlices)
    qkNormSumKernel(const float* partials, QkNormGradients gradients, int64_t blocks, int d, bool accumulate) {
  __shared__ double slices[kSumSlices][kSums][kSumColumns];
  const int lane = threadIdx.x % kSumColumns, slice = threadIdx.x / kSumColumns;
  const int column = blockIdx.x * kSumColumns + lane;
  double totals[kSums] = {};
  if (column < d)
    for (int64_t block = blocks * slice / kSumSlices; block < blocks * (slice + 1) / kSumSlices; ++block)
#pragma unroll
      for (int which = 0; which < kSums; ++which) totals[which] += partials[(block * kSums + which) * d + column];
#pragma unroll
  for (int which = 0; which < kSums; ++which) slices[slice][which][lane] = totals[which];
  __syncthreads();
  if (slice != 0 || column >= d) return;
  float* const to[kSums] = {gradients.dqWeight, gradients.dqBias, gradients.dkWeight, gradients.dkBias};
#pragma unroll
  for (int which = 0; which < kSums; ++which) {
    if (!to[which]) continue;
    for (int i = 1; i < kSumSlices; ++i) totals[which] += slices[i][which][lane];
    to[which][column] = static_cast<float>(accumulate ? to[which][column] + totals[which] : totals[which]);
  }
}

struct Sizes {
  int64_t rows;
  int heads;
  int d;

  Sizes(const Tensor& qkv, int64_t heads)
      : rows(qkv.size(0) * qkv.size(1) * 3 * heads), heads(static_cast<int>(heads)), d(static_cast<int>(qkv.size(2) / (3 * heads))) {}
};

/// Calls run with the width of an access as a constant: 4 elements where every row may be read so, else one.
template <class T, class Run, class... Pointers>
void withWidth(int d, Run&& run, const Pointers*... pointers) {
  if (d % 4 == 0 && aligned16(pointers...)) run(std::integral_constant<int, 4>{});
  else run(std::integral_constant<int, 1>{});
}

}  // namespace

void qkNorm(cudaStream_t stream, const Tensor& qkv, const Tensor& qWeight, const Tensor* qBias, const Tensor& kWeight, const Tensor* kBias,
            int64_t heads, Norm norm, float epsilon, const Tensor& normed, const Tensor& mean, const Tensor& rstd) {
  const Sizes sizes(qkv, heads);
  if (sizes.rows == 0) return;
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const ForwardParameters parameters{qWeight.f32(), qBias ? qBias->f32() : nullptr, kWeight.f32(), kBias ? kBias->f32() : nullptr};
    const T* const x = elements<const T>(qkv);
    T* const y = elements<T>(normed);
    withWidth<T>(
        sizes.d,
        [&](auto width) {
          if (isShort(sizes.d, width)) {
            const int warps = std::min((sizes.heads + kHeads - 1) / kHeads, kMostWarps);
            return launch(stream, qkNormShortKernel<T>,
                          {.grid = dim3(blocksFor(sizes.rows / (3 * sizes.heads), 1)), .block = dim3(32 * warps)}, x, parameters, y,
                          mean.f32(), rstd.f32(), sizes.heads, sizes.d, isCentred(norm), epsilon);
          }
          launch(stream, qkNormKernel<T, width.value>,
                 {.grid = dim3(static_cast<unsigned>((sizes.rows + kMostWarps - 1) / kMostWarps)), .block = dim3(32 * kMostWarps)}, x,
                 parameters, y, mean.f32(), rstd.f32(), sizes.rows, sizes.heads, sizes.d, isCentred(norm), epsilon);
        },
        x, y, parameters.qWeight, parameters.qBias, parameters.kWeight, parameters.kBias);
  });
}

int64_t qkNormBackwardScratchFloats(const Tensor& qkv, int64_t heads) {
  const Sizes sizes(qkv, heads);
  const BackwardPlan plan(sizes.rows, sizes.d);
  if (plan.warps == 0)
    throwError(ErrorCode::shape, "qkNormBackward: head_dim is %d; on a GPU it may be up to %d.", sizes.d,
               BackwardPlan::kMostFloats / 4);
  return plan.blocks * 4 * sizes.d;
}

void qkNormBackward(cudaStream_t stream, const Tensor& dNormed, const Tensor& qkv, const Tensor& qWeight, const Tensor& kWeight,
                    const Tensor& mean, const Tensor& rstd, int64_t heads, Norm norm, const QkNormGradients& gradients,
                    bool accumulate, float* scratch, const Tensor& dqkv) {
  const Sizes sizes(qkv, heads);
  const BackwardPlan plan(sizes.rows, sizes.d);
  if (sizes.rows > 0)
    withComputeType(qkv.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::Type;
      const T* const dy = elements<const T>(dNormed);
      const T* const x = elements<const T>(qkv);
      T* const dx = elements<T>(dqkv);
      withWidth<T>(
          sizes.d,
          [&](auto width) {
            launch(stream, isShort(sizes.d, width) ? qkNormBackwardShortKernel<T> : qkNormBackwardKernel<T, width.value>,
                   {.grid = dim3(static_cast<unsigned>(plan.blocks)),
                    .block = dim3(static_cast<unsigned>(32 * plan.warps)),
                    .sharedBytes = sizeof(float) * 4 * sizes.d * plan.warps},
                   dy, x, qWeight.f32(), kWeight.f32(), mean.f32(), rstd.f32(), dx, scratch, sizes.rows, plan.rowsOfBlock, sizes.heads,
                   sizes.d, isCentred(norm));
          },
          dy, x, dx, qWeight.f32(), kWeight.f32());
    });
  if (sizes.d > 0)
    launch(stream, qkNormSumKernel,
           {.grid = dim3(static_cast<unsigned>((sizes.d + kSumColumns - 1) / kSumColumns)), .block = dim3(kSumColumns * kSumSlices)},
           scratch, gradients, plan.blocks, sizes.d, accumulate);
}

}  // namespace repa::cuda
