// What becomes of a sample's time and label before they condition the blocks. Small: a batch of 256 is a megabyte.
//
//   timestepEmbedding   a thread a pair of columns of one sample, cosine and sine of one argument
//   fourierFeatures     a thread a frequency of one sample, sine and cosine of one argument
//   embedding           a block a row of the result; a copy
//   embeddingBackward   a block a row of the table, and no atomics: it looks through all ids for its own, kThreads at a time, and
//                       adds dOut's rows to its row in the order of the ids, as the CPU does
#include "cuda/embedding.h"

#include <cmath>

#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// Exponent, frequency and argument are each rounded to float32, as in the reference, whose arguments a t near 1000 moves by
/// 6e-5 against exact arithmetic. Cosine and sine are taken in double.
__global__ void __launch_bounds__(kThreads) timestepEmbeddingKernel(int64_t batch, int64_t dim, float negativeLogPeriod, const float* t,
                                                                    float* out) {
  const int64_t half = dim / 2;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t columns = half + dim % 2;
  const int64_t sample = i / columns, column = i % columns;
  if (sample >= batch) return;
  float* row = out + sample * dim;
  if (column == half) {
    row[dim - 1] = 0.0f;
    return;
  }
  const float exponent = __fdiv_rn(__fmul_rn(negativeLogPeriod, static_cast<float>(column)), static_cast<float>(half));
  const float frequency = static_cast<float>(exp(static_cast<double>(exponent)));
  const double argument = static_cast<double>(__fmul_rn(t[sample], frequency));
  row[column] = static_cast<float>(cos(argument));
  row[half + column] = static_cast<float>(sin(argument));
}

/// Sine and cosine are taken in double of an argument that is rounded as torch rounds t f 2 pi.
__global__ void __launch_bounds__(kThreads) fourierFeaturesKernel(int64_t batch, int64_t count, const float* t, const float* frequencies,
                                                                  float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t sample = i / count, column = i % count;
  if (sample >= batch) return;
  const float turns = __fmul_rn(__fmul_rn(t[sample], frequencies[column]), 2.0f);
  const double argument = static_cast<double>(__fmul_rn(turns, static_cast<float>(M_PI)));
  float* row = out + sample * 2 * count;
  row[column] = static_cast<float>(sin(argument));
  row[count + column] = static_cast<float>(cos(argument));
}

/// N divides the width.
template <int N>
__global__ void __launch_bounds__(kThreads) embeddingKernel(int64_t rows, int64_t width, const float* table, const int32_t* ids,
                                                            float* out) {
  const int64_t id = ids[blockIdx.x];
  const bool isInside = id >= 0 && id < rows;
  for (int64_t column = threadIdx.x * N; column < width; column += kThreads * N) {
    float values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = NAN;
    if (isInside) load(values, table + id * width + column);
    store(out + int64_t{blockIdx.x} * width + column, values);
  }
}

__global__ void __launch_bounds__(kThreads)
    embeddingBackwardKernel(int64_t count, int64_t width, const int32_t* ids, const float* dOut, float* dTable, bool accumulate) {
  __shared__ int own[kThreads];  // the ids found, in their order
  __shared__ int foundByWarp[kThreads / kWarp];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float* row = dTable + int64_t{blockIdx.x} * width;
  if (!accumulate)
    for (int64_t column = threadIdx.x; column < width; column += kThreads) row[column] = 0.0f;
  for (int64_t begin = 0; begin < count; begin += kThreads) {
    const bool isOwn = begin + threadIdx.x < count && ids[begin + threadIdx.x] == static_cast<int64_t>(blockIdx.x);
    const unsigned found = __ballot_sync(kAll, isOwn);
    if (lane == 0) foundByWarp[warp] = __popc(found);
    __syncthreads();
    int before = 0, all = 0;
    for (int other = 0; other < kThreads / kWarp; ++other) {
      if (other < warp) before += foundByWarp[other];
      all += foundByWarp[other];
    }
    if (isOwn) own[before + __popc(found & ((1u << lane) - 1))] = static_cast<int>(threadIdx.x);
    __syncthreads();
    if (all == 0) continue;
    for (int64_t column = threadIdx.x; column < width; column += kThreads) {
      float sum = row[column];
      for (int i = 0; i < all; ++i) sum += dOut[(begin + own[i]) * width + column];
      row[column] = sum;
    }
  }
}

}  // namespace

void timestepEmbedding(cudaStream_t stream, const Tensor& t, double maxPeriod, const Tensor& out) {
  const int64_t batch = out.size(0), dim = out.size(1), threads = batch * (dim / 2 + dim % 2);
  if (threads == 0) return;
  const auto negativeLogPeriod = static_cast<float>(-std::log(maxPeriod));
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)), .block = dim3(kThreads)};
  launch(stream, timestepEmbeddingKernel, shape, batch, dim, negativeLogPeriod, t.f32(), out.f32());
}

void fourierFeatures(cudaStream_t stream, const Tensor& t, const Tensor& frequencies, const Tensor& out) {
  const int64_t batch = t.size(0), count = frequencies.size(0), threads = batch * count;
  if (threads == 0) return;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)), .block = dim3(kThreads)};
  launch(stream, fourierFeaturesKernel, shape, batch, count, t.f32(), frequencies.f32(), out.f32());
}

void embedding(cudaStream_t stream, const Tensor& table, const Tensor& ids, const Tensor& out) {
  const int64_t rows = table.size(0), width = table.size(1);
  if (out.elements() == 0) return;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(ids.size(0))), .block = dim3(kThreads)};
  const auto kernel = width % 4 == 0 && aligned16(table.f32(), out.f32()) ? embeddingKernel<4> : embeddingKernel<1>;
  launch(stream, kernel, shape, rows, width, table.f32(), ids.i32(), out.f32());
}

void embeddingBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& ids, const Tensor& dTable, bool accumulate) {
  const int64_t rows = dTable.size(0), width = dTable.size(1);
  if (dTable.elements() == 0) return;
  launch(stream, embeddingBackwardKernel, {.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(kThreads)}, ids.size(0), width,
         ids.i32(), dOut.f32(), dTable.f32(), accumulate);
}

}  // namespace repa::cuda
