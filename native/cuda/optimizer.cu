// The optimizer step over a flat arena of n parameters, on the device alone: the host learns of it some steps late.
//
//   layRanges        one block 96 ranges: puts those that do not fit into a kernel's parameters into an array    a few microseconds
//   sumOfSquares     one block a chunk of the gradient: the sum of its squares, in double, into scratch          reads 4 B a parameter
//   addChunks        one block: the sum over the chunks                                                          a few microseconds
//   clipGradientNorm one thread: the sum over the processes; norm, clip coefficient, finite, loss scale          the same
//   adamW            AdamW, EMA and the copy of the weights that products read, where the gradient is finite     36 or 38 B a parameter
//                    (gradient read; weight, both moments and EMA read and written; bf16 or f16 copy written)
//   followWeights    EMA and copy of weights that other processes have updated                                   12 or 14 B a parameter
//
// One process runs the first four over the whole arena. Of several each runs them over its share, without EMA and copy, and the last one
// over all of it once the shares have been passed round.
//
// All that read arrays stream. A thread takes accesses of 16 bytes of every array (single elements where an array is not aligned), neighbours
// take neighbouring ones. Nothing depends on the order in which blocks run: chunks are fixed, and sums have one order. Every rounding
// of the update is written out: of a b + c d the compiler fuses one product or the other, and an element's bits would depend on the
// width of the access that took it.
//
// Frozen elements are left alone by all but the EMA. A vector that a range cuts, or the arena's end, is taken element by element.
#include "cuda/optimizer.h"

#include <algorithm>

#include "cuda/block_sum.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
/// Elements of the gradient that one block sums: 128 KiB, and 20,600 partial sums of SiT-XL's 675 M parameters.
constexpr int kChunk = 32768;
constexpr int kAddThreads = 1024;
/// Blocks of adamW on a multiprocessor, at 48 registers a thread: 1024 threads with 80 bytes under way each, about three times what
/// a rate of 4.3 TB/s over 132 multiprocessors and a latency of 800 ns ask for.
constexpr int kAdamWBlocks = 4;

enum class Part { outside, inside, mixed };

/// Whether the `length` elements from `begin` on are in the ranges.
__device__ __forceinline__ Part partOf(const ArenaRanges& ranges, int64_t begin, int length) {
  const ArenaRange* listed = ranges.array ? ranges.array : ranges.inside;
  int64_t first = 0;  // the first range that ends behind `begin`
  for (int64_t last = ranges.count; first < last;) {
    const int64_t middle = (first + last) / 2;
    if (listed[middle].end > begin) last = middle;
    else first = middle + 1;
  }
  if (first == ranges.count || listed[first].begin >= begin + length) return Part::outside;
  return listed[first].begin <= begin && listed[first].end >= begin + length ? Part::inside : Part::mixed;
}

__global__ void __launch_bounds__(ArenaRanges::kInside) layRangesKernel(const __grid_constant__ ArenaRanges part, ArenaRange* to) {
  if (threadIdx.x < part.count) to[threadIdx.x] = part.inside[threadIdx.x];
}

template <int N>
__device__ __forceinline__ void addSquares(double (&sums)[N], const float* from) {
  float g[N];
  load(g, from);
#pragma unroll
  for (int j = 0; j < N; ++j) sums[j] += double{g[j]} * g[j];
}

/// In double the squares of floats neither overflow nor round: the sum is finite exactly where all elements are.
template <int N>
__global__ void __launch_bounds__(kThreads) sumOfSquaresKernel(int64_t count, const float* gradient,
                                                               const __grid_constant__ ArenaRanges frozen, double* chunkSums) {
  const int64_t begin = int64_t{blockIdx.x} * kChunk;
  const int64_t end = begin + kChunk < count ? begin + kChunk : count;
  double sums[N] = {};
  if (end - begin == kChunk && partOf(frozen, begin, kChunk) == Part::outside) {
    // Nothing to look at between the loads: several are under way.
#pragma unroll 4
    for (int i = threadIdx.x * N; i < kChunk; i += kThreads * N) addSquares(sums, gradient + begin + i);
  } else {
    for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
      const Part part = i + N <= end ? partOf(frozen, i, N) : Part::mixed;
      if (part == Part::outside) addSquares(sums, gradient + i);
      if (part != Part::mixed) continue;
      for (int64_t j = i; j < i + N && j < end; ++j)
        if (partOf(frozen, j, 1) == Part::outside) sums[0] += double{gradient[j]} * gradient[j];
    }
  }
#pragma unroll
  for (int j = 1; j < N; ++j) sums[0] += sums[j];
  const double sum = blockSum<kThreads>(sums[0]);
  if (threadIdx.x == 0) chunkSums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kAddThreads) addChunksKernel(int64_t chunks, const double* chunkSums, double* to) {
  double sum = 0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kAddThreads) sum += chunkSums[chunk];
  sum = blockSum<kAddThreads>(sum);
  if (threadIdx.x == 0) *to = sum;
}

__global__ void clipGradientNormKernel(int64_t count, const double* sums, StepState* state, float maxNorm, float gradientScale,
                                       bool holdsLate) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += sums[i];
  finishGradient(*state, sum, maxNorm, gradientScale, holdsLate);
}

/// The scalars of one step, those of cpu/optimizer.cpp, which says why.
struct AdamWScalars {
  float clip, decay, beta1, oneMinusBeta1, beta2, oneMinusBeta2, rootBiasCorrection2, epsilon, stepSize, emaDecay, oneMinusEmaDecay;
};

__device__ __forceinline__ AdamWScalars scalarsOf(const AdamWSettings& settings, const StepState& state) {
  const double steps = static_cast<double>(state.step - (settings.late ? state.held : 0));
  const double learningRate = settings.learningRateFactor ? settings.learningRate * *settings.learningRateFactor : settings.learningRate;
  return {.clip = state.clip,
          .decay = static_cast<float>(learningRate * settings.weightDecay), .beta1 = static_cast<float>(settings.beta1),
          .oneMinusBeta1 = static_cast<float>(1.0 - settings.beta1), .beta2 = static_cast<float>(settings.beta2),
          .oneMinusBeta2 = static_cast<float>(1.0 - settings.beta2),
          .rootBiasCorrection2 = static_cast<float>(sqrt(1.0 - pow(settings.beta2, steps))),
          .epsilon = static_cast<float>(settings.epsilon),
          .stepSize = static_cast<float>(learningRate / (1.0 - pow(settings.beta1, steps))),
          .emaDecay = static_cast<float>(settings.emaDecay), .oneMinusEmaDecay = 1.0F - static_cast<float>(settings.emaDecay)};
}

/// The arena's arrays; ema and compute may be null.
template <class C>
struct Arrays {
  float* weight;
  const float* gradient;
  float *firstMoment, *secondMoment, *ema;
  C* compute;
};

/// `e`: what stands at ema. The caller reads it with what else it reads: behind a store it would have to wait for that.
template <int N>
__device__ __forceinline__ void averageWeights(float* ema, float (&e)[N], float decay, float oneMinusDecay, const float (&p)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) e[j] = __fmaf_rn(decay, e[j], __fmul_rn(oneMinusDecay, p[j]));
  store(ema, e);
}

template <int N, class C>
__device__ __forceinline__ void updateTrainable(const Arrays<C>& to, const AdamWScalars& s, float decay, int64_t i) {
  float p[N], g[N], m[N], v[N], e[N] = {};
  load(g, to.gradient + i);
  load(m, to.firstMoment + i);
  load(v, to.secondMoment + i);
  load(p, to.weight + i);
  if (to.ema) load(e, to.ema + i);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    g[j] = __fmul_rn(g[j], s.clip);
    m[j] = __fmaf_rn(s.beta1, m[j], __fmul_rn(s.oneMinusBeta1, g[j]));
    v[j] = __fmaf_rn(s.beta2, v[j], __fmul_rn(__fmul_rn(s.oneMinusBeta2, g[j]), g[j]));
    const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v[j]), s.rootBiasCorrection2), s.epsilon);
    p[j] = __fsub_rn(p[j], __fmaf_rn(decay, p[j], __fdiv_rn(__fmul_rn(s.stepSize, m[j]), denominator)));
  }
  store(to.firstMoment + i, m);
  store(to.secondMoment + i, v);
  store(to.weight + i, p);
  if (to.compute) store(to.compute + i, p);
  if (to.ema) averageWeights(to.ema + i, e, s.emaDecay, s.oneMinusEmaDecay, p);
}

template <int N, class C>
__device__ __forceinline__ void updateFrozen(const Arrays<C>& to, const AdamWScalars& s, int64_t i) {
  if (!to.ema) return;
  float p[N], e[N];
  load(p, to.weight + i);
  load(e, to.ema + i);
  averageWeights(to.ema + i, e, s.emaDecay, s.oneMinusEmaDecay, p);
}

/// As many blocks as run at once, which go over the arena together: the powers of the bias corrections are taken once a block.
template <int N, class C>
__global__ void __launch_bounds__(kThreads, kAdamWBlocks)
    adamWKernel(int64_t count, const Arrays<C> to, const __grid_constant__ ArenaRanges frozen,
                const __grid_constant__ ArenaRanges undecayed, const StepState* state, const AdamWSettings settings) {
  __shared__ AdamWScalars shared;
  if (!state->finite) return;
  if (threadIdx.x == 0) shared = scalarsOf(settings, *state);
  __syncthreads();
  const AdamWScalars s = shared;
  const int64_t stride = int64_t{gridDim.x} * kThreads * N;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < count; i += stride) {
    const Part part = i + N <= count ? partOf(frozen, i, N) : Part::mixed;
    const Part plain = partOf(undecayed, i, N);
    if (part == Part::inside) {
      updateFrozen<N>(to, s, i);
    } else if (part == Part::outside && plain != Part::mixed) {
      updateTrainable<N>(to, s, plain == Part::inside ? 0.0f : s.decay, i);
    } else {
      for (int64_t j = i; j < i + N && j < count; ++j) {
        if (partOf(frozen, j, 1) == Part::inside) updateFrozen<1>(to, s, j);
        else updateTrainable<1>(to, s, partOf(undecayed, j, 1) == Part::inside ? 0.0f : s.decay, j);
      }
    }
  }
}

/// ema and compute may be null.
template <int N, class C>
__device__ __forceinline__ void follow(const float* weight, float* ema, C* compute, float decay, float oneMinusDecay, int64_t i) {
  float p[N], e[N] = {};
  load(p, weight + i);
  if (ema) load(e, ema + i);
  if (compute) store(compute + i, p);
  if (ema) averageWeights(ema + i, e, decay, oneMinusDecay, p);
}

template <int N, class C>
__global__ void __launch_bounds__(kThreads, kAdamWBlocks)
    followWeightsKernel(int64_t count, const float* weight, float* ema, C* compute, const StepState* state, float decay, float oneMinusDecay) {
  if (!state->finite) return;
  const int64_t stride = int64_t{gridDim.x} * kThreads * N;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < count; i += stride) {
    if (i + N <= count) {
      follow<N>(weight, ema, compute, decay, oneMinusDecay, i);
    } else {
      for (int64_t j = i; j < count; ++j) follow<1>(weight, ema, compute, decay, oneMinusDecay, j);
    }
  }
}

int64_t chunksOf(int64_t count) { return (count + kChunk - 1) / kChunk; }

/// As many blocks as run at once, or as few as have something to do.
LaunchShape passOver(int64_t count, int perThread, int multiprocessors) {
  const int64_t perBlock = int64_t{kThreads} * perThread;
  const int64_t blocks = std::min<int64_t>((count + perBlock - 1) / perBlock, int64_t{multiprocessors} * kAdamWBlocks);
  return {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)};
}

template <class C>
void adamWOf(cudaStream_t stream, int multiprocessors, int64_t count, const Arrays<C>& to, const ArenaRanges& frozen,
             const ArenaRanges& undecayed, const StepState* state, const AdamWSettings& settings) {
  const auto run = [&](auto kernel, int perThread) {
    launch(stream, kernel, passOver(count, perThread, multiprocessors), count, to, frozen, undecayed, state, settings);
  };
  if (aligned16(to.weight, to.gradient, to.firstMoment, to.secondMoment, to.ema, to.compute)) run(adamWKernel<4, C>, 4);
  else run(adamWKernel<1, C>, 1);
}

}  // namespace

ArenaRanges arenaRanges(cudaStream_t stream, const std::vector<ArenaRange>& ranges, const Tensor& room) {
  const auto count = static_cast<int64_t>(ranges.size());
  const auto inside = [&](int64_t first) {
    ArenaRanges part;
    part.count = std::min<int64_t>(count - first, ArenaRanges::kInside);
    std::copy_n(ranges.begin() + first, part.count, part.inside);
    return part;
  };
  if (count <= ArenaRanges::kInside) return inside(0);
  ArenaRanges laid;
  laid.count = count;
  auto* const array = static_cast<ArenaRange*>(room.data());
  laid.array = array;
  for (int64_t first = 0; first < count; first += ArenaRanges::kInside)
    launch(stream, layRangesKernel, {.grid = dim3(1), .block = dim3(ArenaRanges::kInside)}, inside(first), array + first);
  return laid;
}

int64_t sumOfSquaresScratchBytes(int64_t count) { return chunksOf(count) * static_cast<int64_t>(sizeof(double)); }

void sumOfSquares(cudaStream_t stream, const Tensor& gradient, const ArenaRanges& frozen, double* sum, const Tensor& scratch) {
  const int64_t count = gradient.elements(), chunks = chunksOf(count);
  double* chunkSums = static_cast<double*>(scratch.data());
  if (chunks > 0) {
    const auto kernel = aligned16(gradient.f32()) ? sumOfSquaresKernel<4> : sumOfSquaresKernel<1>;
    launch(stream, kernel, {.grid = dim3(static_cast<unsigned>(chunks)), .block = dim3(kThreads)}, count, gradient.f32(), frozen,
           chunkSums);
  }
  launch(stream, addChunksKernel, {.grid = dim3(1), .block = dim3(kAddThreads)}, chunks, chunkSums, sum);
}

void clipGradientNorm(cudaStream_t stream, const Tensor& sums, StepState* state, float maxNorm, float gradientScale, bool holdsLate) {
  launch(stream, clipGradientNormKernel, {.grid = dim3(1), .block = dim3(1)}, sums.elements(), sums.f64(), state, maxNorm,
         gradientScale, holdsLate);
}

void adamW(cudaStream_t stream, int multiprocessors, const Tensor& weight, const Tensor& gradient, const Tensor& firstMoment,
           const Tensor& secondMoment, const Tensor* ema,
           const Tensor* computeWeight, const ArenaRanges& frozen, const ArenaRanges& undecayed, const StepState* state,
           const AdamWSettings& settings) {
  const int64_t count = weight.elements();
  if (count == 0) return;
  withComputeType(computeWeight ? computeWeight->dtype() : DType::f32, [&](auto tag) {
    using C = typename decltype(tag)::Type;
    const Arrays<C> to = {weight.f32(), gradient.f32(), firstMoment.f32(), secondMoment.f32(), ema ? ema->f32() : nullptr,
                          computeWeight ? elements<C>(*computeWeight) : nullptr};
    adamWOf(stream, multiprocessors, count, to, frozen, undecayed, state, settings);
  });
}

void followWeights(cudaStream_t stream, int multiprocessors, const Tensor& weight, const Tensor* ema, const Tensor* computeWeight,
                   const StepState* state, double emaDecay) {
  const int64_t count = weight.elements();
  if (count == 0) return;
  withComputeType(computeWeight ? computeWeight->dtype() : DType::f32, [&](auto tag) {
    using C = typename decltype(tag)::Type;
    float* const average = ema ? ema->f32() : nullptr;
    C* const compute = computeWeight ? elements<C>(*computeWeight) : nullptr;
    const auto run = [&](auto kernel, int perThread) {
      launch(stream, kernel, passOver(count, perThread, multiprocessors), count, weight.f32(), average, compute, state,
             static_cast<float>(emaDecay), 1.0F - static_cast<float>(emaDecay));
    };
    if (aligned16(weight.f32(), average, compute)) run(followWeightsKernel<4, C>, 4);
    else run(followWeightsKernel<1, C>, 1);
  });
}

}  // namespace repa::cuda
