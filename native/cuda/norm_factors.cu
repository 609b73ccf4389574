// The weights of a step's RMSNorms, multiplied into its modulation once for all blocks, so that the kernels that normalise know nothing of
// weights:
//
//     modulation of a sample     | shift | scale | gate | shift | scale | gate | ... | shift | scale | (gate) |      chunks of D
//     its norms                            n = 0                  1                            N - 1
//     factor of norm n = weights[n] (1 + scale), in the scale's place
//
// Backward, with d the factor's gradient: the scale's is weights[n] d, in the same place, and that of weights[n] the sum of d (1 + scale) over
// the samples. A thread owns four columns of one norm and goes through the samples in their order: no atomics, and no second kernel.
// Both are bound by memory, and small beside a block: 0.2 GB each for SiT-XL's 57 norms and 256 samples.
#include "cuda/norm_factors.h"

#include "cuda/blocks.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 128;

/// One block a row of a chunk.
template <int N>
__global__ void __launch_bounds__(kThreads) normFactorsKernel(const float* modulation, const float* weights, float* out, int chunks, int width) {
  const int chunk = static_cast<int>(blockIdx.x % static_cast<unsigned>(chunks));
  const float* const weight = chunk % 3 == 1 ? weights + int64_t{chunk / 3} * width : nullptr;
  const int64_t row = int64_t{blockIdx.x} * width;
  for (int column = static_cast<int>(threadIdx.x) * N; column < width; column += kThreads * N) {
    float m[N];
    load(m, modulation + row + column);
    if (weight) {
      float w[N];
      load(w, weight + column);
#pragma unroll
      for (int i = 0; i < N; ++i) m[i] = w[i] * (1.0f + m[i]);
    }
    store(out + row + column, m);
  }
}

/// Blocks of (columns, norm).
template <int N>
__global__ void __launch_bounds__(kThreads) normFactorsBackwardKernel(float* dModulation, const float* modulation, const float* weights,
                                                                      float* dWeights, bool accumulate, int64_t batch, int chunks, int width) {
  const int column = (static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * N;
  if (column >= width) return;
  const int norm = static_cast<int>(blockIdx.y);
  const int64_t ofWeights = int64_t{norm} * width + column, sampleStride = int64_t{chunks} * width;
  float w[N], sum[N] = {};
  load(w, weights + ofWeights);
  if (accumulate) load(sum, dWeights + ofWeights);
  const int64_t first = (int64_t{3} * norm + 1) * width + column;
#pragma unroll 4
  for (int64_t sample = 0; sample < batch; ++sample) {
    const int64_t at = first + sample * sampleStride;
    float d[N], scale[N];
    load(d, dModulation + at);
    load(scale, modulation + at);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum[i] += d[i] * (1.0f + scale[i]);
      d[i] *= w[i];
    }
    store(dModulation + at, d);
  }
  store(dWeights + ofWeights, sum);
}

/// Calls run(N) with the elements of an access.
template <class Run, class... Pointers>
void withVectors(int64_t width, Run&& run, const Pointers*... pointers) {
  if (width % 4 == 0 && aligned16(pointers...)) run(std::integral_constant<int, 4>{});
  else run(std::integral_constant<int, 1>{});
}

}  // namespace

void normFactors(cudaStream_t stream, const Tensor& modulation, const Tensor& weights, const Tensor& out) {
  const int64_t chunks = modulation.size(1), width = modulation.size(2);
  const auto run = [&](auto n) {
    launch(stream, normFactorsKernel<decltype(n)::value>, {.grid = dim3(blocksFor(modulation.size(0) * chunks, 1)), .block = dim3(kThreads)},
           modulation.f32(), weights.f32(), out.f32(), static_cast<int>(chunks), static_cast<int>(width));
  };
  withVectors(width, run, modulation.f32(), weights.f32(), out.f32());
}

void normFactorsBackward(cudaStream_t stream, const Tensor& dModulation, const Tensor& modulation, const Tensor& weights,
                         const Tensor& dWeights, bool accumulate) {
  const int64_t norms = weights.size(0), width = weights.size(1);
  const auto run = [&](auto n) {
    constexpr int N = decltype(n)::value;
    launch(stream, normFactorsBackwardKernel<N>,
           {.grid = dim3(blocksFor(width, int64_t{kThreads} * N), static_cast<unsigned>(norms)), .block = dim3(kThreads)}, dModulation.f32(),
           modulation.f32(), weights.f32(), dWeights.f32(), accumulate, modulation.size(0), static_cast<int>(modulation.size(1)), static_cast<int>(width));
  };
  withVectors(width, run, dModulation.f32(), modulation.f32(), weights.f32(), dWeights.f32());
}

}  // namespace repa::cuda
