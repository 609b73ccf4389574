// Random tensors with the CPU's bits: the numbers are made by the same code (core/philox.h, core/box_muller.h, core/lognormal_time.h),
// which is exact, or rounds in one way only.
//
// A thread makes one Philox block, four numbers, and stores them as one access of 16 bytes where `out` lets it; a batch may begin in
// the middle of a block, of which then a part is kept.
#include "cuda/random.h"

#include "core/box_muller.h"
#include "core/lognormal_time.h"
#include "core/shifted_time.h"
#include "cuda/launch.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

struct Uniform {
  __device__ void operator()(const RandomPosition& at, uint64_t block, float* number) const { uniformNumbers(at, block, number); }
};
struct Normal {
  __device__ void operator()(const RandomPosition& at, uint64_t block, float* number) const { normalNumbers(at, block, number); }
};

struct Scaling {
  double offset, factor;
};

/// `whole`: blocks coincide with accesses of 16 bytes.
template <class Draw>
__global__ void __launch_bounds__(kThreads) fillKernel(float* out, int64_t count, RandomPosition position, int64_t first, bool whole,
                                                       Scaling scaling, Draw draw) {
  const int64_t block = first / 4 + int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t begin = 4 * block - first;  // where the block's first number belongs; up to 3 before `out`
  if (begin >= count) return;
  float number[4];
  draw(position, static_cast<uint64_t>(block), number);
  if (scaling.offset != 0 || scaling.factor != 1) {
    // Rounded as on the CPU: the product and the sum apart, in double, then once to float.
#pragma unroll
    for (int k = 0; k < 4; ++k) number[k] = static_cast<float>(scaling.offset + roundedProduct(scaling.factor, number[k]));
  }
  if (whole && begin + 4 <= count) return store(out + begin, number);
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (begin + k >= 0 && begin + k < count) out[begin + k] = number[k];
}

__global__ void __launch_bounds__(kThreads) timestepsKernel(float* t, int64_t batch, bool lognormal, bool cosinePath, double shift,
                                                            RandomPosition position, int64_t first) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= batch) return;
  t[i] = shiftedTime(lognormal ? lognormalTime(normalNumber(position, first + i), cosinePath) : uniformNumber(position, first + i), shift);
}

__global__ void __launch_bounds__(kThreads)
    integersKernel(int32_t* out, int64_t batch, int32_t low, int64_t count, RandomPosition position, int64_t first) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < batch) out[i] = low + integerBelow(uniformNumber(position, first + i), count);
}

__global__ void __launch_bounds__(kThreads)
    dropLabelsKernel(const int32_t* labels, int32_t* out, int64_t batch, double probability, int32_t nullClass, RandomPosition position,
                     int64_t first) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < batch) out[i] = uniformNumber(position, first + i) < probability ? nullClass : labels[i];
}

/// A warp takes a sample, a lane every 32nd of its tokens, whose numbers stand in `places` until it is known which of them are taken.
__global__ void __launch_bounds__(kThreads)
    drawTokensKernel(int32_t* ids, int32_t* places, int64_t batch, int64_t tokens, int taken, RandomPosition position, int64_t first) {
  const int lane = threadIdx.x % kWarp;
  const int64_t sample = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (sample >= batch) return;
  ids += sample * taken;
  places += sample * tokens;
  for (int64_t token = lane; token < tokens; token += kWarp)
    places[token] = integerBelow(uniformNumber(position, (first + sample) * tokens + token), kTokenNumbers);
  const auto smaller = [&](int32_t limit) {
    int count = 0;
    for (int64_t token = lane; token < tokens; token += kWarp) count += places[token] < limit ? 1 : 0;
    return warpSum(count);
  };
  // The largest number that has no more than `taken` below it.
  int32_t limit = 0;
  for (int32_t bit = kTokenNumbers / 2; bit > 0; bit /= 2)
    if (smaller(limit | bit) <= taken) limit |= bit;
  int equalOnes = taken - smaller(limit), count = 0;
  const unsigned before = (1u << lane) - 1;
  for (int64_t begin = 0; begin < tokens; begin += kWarp) {
    const int64_t token = begin + lane;
    const bool isThere = token < tokens;
    const int32_t number = isThere ? places[token] : kTokenNumbers;
    const unsigned equal = __ballot_sync(kAll, number == limit);
    const bool isTaken = number < limit || (number == limit && __popc(equal & before) < equalOnes);
    const unsigned found = __ballot_sync(kAll, isTaken);
    const int place = count + __popc(found & before);
    if (isTaken) ids[place] = static_cast<int32_t>(token);
    if (isThere) places[token] = isTaken ? place : -1;
    equalOnes -= __popc(equal);
    count += __popc(found);
  }
}

LaunchShape shapeOf(int64_t threads) {
  return {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)), .block = dim3(kThreads)};
}

template <class Draw>
void fill(cudaStream_t stream, const Tensor& out, const Scaling& scaling, const RandomPosition& position, int64_t first, Draw draw) {
  const int64_t count = out.elements();
  if (count == 0) return;
  const int64_t blocks = (first % 4 + count + 3) / 4;
  const bool whole = first % 4 == 0 && aligned16(out.f32());
  launch(stream, fillKernel<Draw>, shapeOf(blocks), out.f32(), count, position, first, whole, scaling, draw);
}

}  // namespace

void fillUniform(cudaStream_t stream, const Tensor& out, double offset, double factor, const RandomPosition& position, int64_t first) {
  fill(stream, out, {offset, factor}, position, first, Uniform{});
}

void fillNormal(cudaStream_t stream, const Tensor& out, double offset, double factor, const RandomPosition& position, int64_t first) {
  fill(stream, out, {offset, factor}, position, first, Normal{});
}

void fillTimesteps(cudaStream_t stream, const Tensor& out, bool lognormal, bool cosinePath, double shift, const RandomPosition& position,
                   int64_t first) {
  const int64_t batch = out.elements();
  if (batch > 0) launch(stream, timestepsKernel, shapeOf(batch), out.f32(), batch, lognormal, cosinePath, shift, position, first);
}

void fillIntegers(cudaStream_t stream, const Tensor& out, int32_t low, int64_t count, const RandomPosition& position, int64_t first) {
  const int64_t batch = out.elements();
  if (batch > 0) launch(stream, integersKernel, shapeOf(batch), out.i32(), batch, low, count, position, first);
}

void dropLabels(cudaStream_t stream, const Tensor& labels, double probability, int32_t nullClass, const RandomPosition& position,
                int64_t first, const Tensor& out) {
  const int64_t batch = labels.elements();
  if (batch > 0) launch(stream, dropLabelsKernel, shapeOf(batch), labels.i32(), out.i32(), batch, probability, nullClass, position, first);
}

void drawTokens(cudaStream_t stream, const Tensor& ids, const Tensor& places, const RandomPosition& position, int64_t first) {
  if (places.elements() == 0) return;
  const int64_t batch = places.size(0);
  launch(stream, drawTokensKernel, shapeOf(batch * kWarp), ids.i32(), places.i32(), batch, places.size(1), static_cast<int>(ids.size(1)),
         position, first);
}

}  // namespace repa::cuda
