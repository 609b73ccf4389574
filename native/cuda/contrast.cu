// What contrastive losses are made of.
//
//   l2Normalize        one warp a row, which is read twice: from memory for its norm, from the cache for its quotient.
//   crossEntropy       one block a row, read three times: its maximum, the sum of its exponentials, its gradient. A row of 4096 is 16 KiB.
//   squaredDistances   one block a tile of 16 x 16 pairs and a slice of the samples' elements, which it takes 64 at a time into shared
//                      memory; a thread sums one pair. Tiles below the diagonal are left out. The slices' sums are added in order:
//                                    j ->  16 16 16 16
//                             i   16       #  #  #  #      a tile: rows i and rows j of x, 64 elements of each
//                             |   16          #  #  #
//                             v   16             #  #
//   dispersiveLoss     one warp a row of distances: first the rows' sums, then from all of them the loss and the gradient's matrix.
//
// All sums have one order, and those of many terms run in double.
#include "cuda/contrast.h"

#include <algorithm>

#include "cuda/block_combine.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr float kSmallestNorm = 1e-12f;

LaunchShape warpPerRow(int64_t rows) { return {.grid = dim3(blocksFor(rows, kWarps)), .block = dim3(kThreads)}; }

template <class T>
__global__ void __launch_bounds__(kThreads) l2NormalizeKernel(int64_t rows, int64_t width, const T* x, float* unit, float* norms) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  x += row * width;
  unit += row * width;
  float sum = 0;
  for (int64_t i = lane; i < width; i += kWarp) sum += toFloat(x[i]) * toFloat(x[i]);
  const float norm = sqrtf(warpSum(sum));
  const float length = norm > kSmallestNorm ? norm : kSmallestNorm;
  if (lane == 0) norms[row] = norm;
  for (int64_t i = lane; i < width; i += kWarp) unit[i] = toFloat(x[i]) / length;
}

template <class T>
__global__ void __launch_bounds__(kThreads) l2NormalizeBackwardKernel(int64_t rows, int64_t width, const float* dUnit, const float* unit,
                                                                     const float* norms, T* dX) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const bool isClamped = norms[row] < kSmallestNorm;
  const float length = isClamped ? kSmallestNorm : norms[row];
  float along = 0;
  for (int64_t i = row * width + lane; i < (row + 1) * width; i += kWarp) along += dUnit[i] * unit[i];
  along = isClamped ? 0.0f : warpSum(along);
  for (int64_t i = row * width + lane; i < (row + 1) * width; i += kWarp) dX[i] = fromFloat<T>((dUnit[i] - along * unit[i]) / length);
}

__global__ void __launch_bounds__(kThreads) crossEntropyKernel(int64_t width, const float* logits, float scale, float rowWeight, const StepState* state,
                                                              float* loss, float* dLogits) {
  __shared__ float largestOfWarp[kWarps], sumOfWarp[kWarps];
  const int64_t row = blockIdx.x;
  logits += row * width;
  float largest = logits[0];
  for (int64_t i = threadIdx.x; i < width; i += kThreads) largest = fmaxf(largest, logits[i]);
  largest = blockCombine<kWarps>(largest, largestOfWarp, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) sum += expf(scale * (logits[i] - largest));
  sum = blockCombine<kWarps>(sum, sumOfWarp, [](float a, float b) { return a + b; });
  if (threadIdx.x == 0) loss[row] = logf(sum) - scale * (logits[row] - largest);
  if (!dLogits) return;
  rowWeight *= scale * lossScaleOf(state);
  const float factor = rowWeight / sum;
  for (int64_t i = threadIdx.x; i < width; i += kThreads)
    dLogits[row * width + i] = factor * expf(scale * (logits[i] - largest)) - (i == row ? rowWeight : 0.0f);
}

constexpr int kTile = 16;
constexpr int kDepth = 64;
constexpr int64_t kSliceElements = 16384;

int64_t slicesOf(int64_t size) { return size > kSliceElements ? (size + kSliceElements - 1) / kSliceElements : 1; }

/// partial [slices, batch, batch], of which the tiles above and on the diagonal are written.
__global__ void __launch_bounds__(kTile * kTile) distanceSlicesKernel(int batch, int64_t size, const float* x, float* partial) {
  __shared__ float ofRows[kTile][kDepth + 1], ofColumns[kTile][kDepth + 1];
  if (blockIdx.x < blockIdx.y) return;
  const int firstRow = blockIdx.y * kTile, firstColumn = blockIdx.x * kTile;
  const int row = threadIdx.x / kTile, column = threadIdx.x % kTile;
  const int64_t begin = int64_t{blockIdx.z} * kSliceElements;
  const int64_t end = min(begin + kSliceElements, size);
  float sum = 0;
  for (int64_t first = begin; first < end; first += kDepth) {
    for (int i = threadIdx.x; i < kTile * kDepth; i += kTile * kTile) {
      const int sample = i / kDepth, element = i % kDepth;
      const int64_t at = first + element;
      ofRows[sample][element] = at < end && firstRow + sample < batch ? x[(firstRow + sample) * size + at] : 0.0f;
      ofColumns[sample][element] = at < end && firstColumn + sample < batch ? x[(firstColumn + sample) * size + at] : 0.0f;
    }
    __syncthreads();
    float part = 0;
#pragma unroll 8
    for (int element = 0; element < kDepth; ++element) {
      const float difference = ofRows[row][element] - ofColumns[column][element];
      part += difference * difference;
    }
    sum += part;
    __syncthreads();
  }
  if (firstRow + row < batch && firstColumn + column < batch)
    partial[(int64_t{blockIdx.z} * batch + firstRow + row) * batch + firstColumn + column] = sum;
}

__global__ void __launch_bounds__(kThreads) addDistanceSlicesKernel(int batch, int slices, const float* partial, float* distances) {
  const int64_t pair = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t pairs = int64_t{batch} * batch;
  if (pair >= pairs) return;
  const int64_t i = pair / batch, j = pair % batch;
  const int64_t at = i < j ? pair : j * batch + i;
  double sum = 0;
  for (int slice = 0; slice < slices; ++slice) sum += partial[slice * pairs + at];
  distances[pair] = static_cast<float>(sum);
}

/// A row's sum is of the others alone. From itself a sample is at 0, and at NaN where it is not finite: then all is.
__global__ void __launch_bounds__(kThreads) similaritySumsKernel(int64_t batch, const float* distances, float scale, double* rowSums) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= batch) return;
  double sum = 0;
  for (int64_t i = lane; i < batch; i += kWarp) {
    const float distance = distances[row * batch + i];
    sum += i == row ? distance : expf(-scale * distance);
  }
  sum = warpSum(sum);
  if (lane == 0) rowSums[row] = sum;
}

__global__ void __launch_bounds__(kThreads) dispersiveKernel(int64_t batch, const float* distances, float scale, float weight, const StepState* state,
                                                            const double* rowSums, float* loss, float* pull) {
  const int lane = threadIdx.x % kWarp;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= batch) return;
  double total = 0;
  for (int64_t i = lane; i < batch; i += kWarp) total += rowSums[i];
  total = static_cast<double>(batch) + warpSum(total);
  if (row == 0 && lane == 0) *loss = static_cast<float>(log(total / (static_cast<double>(batch) * static_cast<double>(batch))));
  if (!pull) return;
  const float factor = static_cast<float>(4.0 * scale * weight / total) * lossScaleOf(state);
  for (int64_t i = lane; i < batch; i += kWarp)
    pull[row * batch + i] = factor * (i == row ? -static_cast<float>(rowSums[row]) : expf(-scale * distances[row * batch + i]));
}

}  // namespace

void l2Normalize(cudaStream_t stream, const Tensor& x, const Tensor& unit, const Tensor& norms) {
  const int64_t rows = norms.elements(), width = x.size(-1);
  if (rows == 0) return;
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch(stream, l2NormalizeKernel<T>, warpPerRow(rows), rows, width, elements<const T>(x), unit.f32(), norms.f32());
  });
}

void l2NormalizeBackward(cudaStream_t stream, const Tensor& dUnit, const Tensor& unit, const Tensor& norms, const Tensor& dX) {
  const int64_t rows = norms.elements(), width = unit.size(-1);
  if (rows == 0) return;
  withComputeType(dX.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch(stream, l2NormalizeBackwardKernel<T>, warpPerRow(rows), rows, width, dUnit.f32(), unit.f32(), norms.f32(), elements<T>(dX));
  });
}

void crossEntropyLoss(cudaStream_t stream, const Tensor& logits, float scale, float rowWeight, const StepState* state, const Tensor& loss,
                      const Tensor* dLogits) {
  const int64_t rows = logits.size(0);
  if (rows == 0) return;
  launch(stream, crossEntropyKernel, {.grid = dim3(blocksFor(rows, 1)), .block = dim3(kThreads)}, rows, logits.f32(), scale, rowWeight, state,
         loss.f32(), dLogits ? dLogits->f32() : nullptr);
}

int64_t squaredDistancesScratchFloats(int64_t batch, int64_t size) { return slicesOf(size) * batch * batch; }

void squaredDistances(cudaStream_t stream, const Tensor& x, const Tensor& distances, const Tensor& partial) {
  const int64_t batch = x.size(0);
  if (batch == 0) return;
  const int64_t size = x.elements() / batch, slices = slicesOf(size);
  const unsigned tiles = blocksAcross(batch, kTile, "samples", "Take a smaller batch.");
  const unsigned depth = blocksAcross(size, kSliceElements, "elements a sample", "Take smaller ones.");
  launch(stream, distanceSlicesKernel, {.grid = dim3(tiles, tiles, std::max(depth, 1u)), .block = dim3(kTile * kTile)},
         static_cast<int>(batch), size, x.f32(), partial.f32());
  launch(stream, addDistanceSlicesKernel, {.grid = dim3(blocksFor(batch * batch, kThreads)), .block = dim3(kThreads)}, static_cast<int>(batch),
         static_cast<int>(slices), partial.f32(), distances.f32());
}

void dispersiveLoss(cudaStream_t stream, const Tensor& distances, float scale, float weight, const StepState* state, const Tensor& loss,
                    const Tensor* pull, double* rowSums) {
  const int64_t batch = distances.size(0);
  launch(stream, similaritySumsKernel, warpPerRow(batch), batch, distances.f32(), scale, rowSums);
  launch(stream, dispersiveKernel, warpPerRow(pull ? batch : 1), batch, distances.f32(), scale, weight, state, rowSums, loss.f32(),
         pull ? pull->f32() : nullptr);
}

}  // namespace repa::cuda
