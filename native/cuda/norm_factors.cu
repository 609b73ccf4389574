// The weights of a step's RMSNorms, multiplied into its modulation once for all blocks, so that the kernels that normalise know nothing of
// weights:
//
//     modulation of a sample     | shift | scale | gate | shift | scale | gate | ... | shift | scale | (gate) |      chunks of D
//     its norms                            n = 0                  1                            N - 1
//     factor of norm n = weights[n] (1 + scale), in the scale's place
//
// Backward, with d the factor's gradient: the scale's is weights[n] d, in the same place, and that of weights[n] the sum of d (1 + scale) over
// the samples. A thread owns four columns of one norm and goes through the samples in their order: no atomics. Where norms and columns alone
// fill no chip (the few norms of a DDT head, of which every token is a sample) the samples are cut into parts, whose sums a second kernel adds.
// Both are bound by memory, and small beside a block: 0.2 GB each for SiT-XL's 57 norms and 256 samples.
#include "cuda/norm_factors.h"

#include "cuda/blocks.h"
#include "cuda/launch.h"
#include "cuda/partial_sums.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 128;
/// Of which a thread has the loads under way at once, 128 bytes.
constexpr int kSamplesAtOnce = 4;

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

/// Blocks of (columns, norm, part of the samples). The sums of part p of norm n go to sums [n, p, width].
template <int N>
__global__ void __launch_bounds__(kThreads) normFactorsBackwardKernel(float* dModulation, const float* modulation, const float* weights,
                                                                      float* sums, bool accumulate, int64_t batch, int chunks, int width) {
  const int column = (static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * N;
  if (column >= width) return;
  const int norm = static_cast<int>(blockIdx.y);
  const int64_t parts = gridDim.z, part = blockIdx.z, sampleStride = int64_t{chunks} * width;
  float* const out = sums + (norm * parts + part) * width + column;
  float w[N], sum[N] = {};
  load(w, weights + int64_t{norm} * width + column);
  if (accumulate) load(sum, out);
  const int64_t first = (int64_t{3} * norm + 1) * width + column;
  const int64_t end = batch * (part + 1) / parts;
  for (int64_t sample = batch * part / parts; sample < end; sample += kSamplesAtOnce) {
    // All read before the first is written: a load behind a store would have to wait for that.
    float d[kSamplesAtOnce][N], scale[kSamplesAtOnce][N];
#pragma unroll
    for (int s = 0; s < kSamplesAtOnce; ++s) {
      const int64_t at = first + (sample + s) * sampleStride;
      if (sample + s < end) {
        load(d[s], dModulation + at);
        load(scale[s], modulation + at);
      }
    }
#pragma unroll
    for (int s = 0; s < kSamplesAtOnce; ++s) {
      if (sample + s >= end) break;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sum[i] += d[s][i] * (1.0f + scale[s][i]);
        d[s][i] *= w[i];
      }
      store(dModulation + first + (sample + s) * sampleStride, d[s]);
    }
  }
  store(out, sum);
}

/// Into how many parts the samples are cut: so many that there are two waves of blocks, and none of fewer than 64 samples. By the sizes alone.
int64_t partsOf(int64_t batch, int64_t norms, int64_t width) {
  constexpr int64_t kBlocks = 2 * 132, kLeastSamples = 64, kColumns = int64_t{4} * kThreads;
  const int64_t blocks = norms * ((width + kColumns - 1) / kColumns), wanted = (kBlocks + blocks - 1) / blocks, most = batch / kLeastSamples;
  return most < 1 ? 1 : wanted < most ? wanted : most;
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

int64_t normFactorsBackwardScratchFloats(int64_t batch, int64_t norms, int64_t width) {
  const int64_t parts = partsOf(batch, norms, width);
  return parts > 1 ? norms * parts * width : 0;
}

void normFactorsBackward(cudaStream_t stream, const Tensor& dModulation, const Tensor& modulation, const Tensor& weights,
                         const Tensor& dWeights, bool accumulate, float* scratch) {
  const int64_t batch = modulation.size(0), norms = weights.size(0), width = weights.size(1), parts = partsOf(batch, norms, width);
  float* const sums = parts > 1 ? scratch : dWeights.f32();
  const auto run = [&](auto n) {
    constexpr int N = decltype(n)::value;
    const dim3 grid(blocksFor(width, int64_t{kThreads} * N), static_cast<unsigned>(norms), static_cast<unsigned>(parts));
    launch(stream, normFactorsBackwardKernel<N>, {.grid = grid, .block = dim3(kThreads)}, dModulation.f32(), modulation.f32(), weights.f32(), sums,
           accumulate && parts == 1, batch, static_cast<int>(modulation.size(1)), static_cast<int>(width));
  };
  withVectors(width, run, dModulation.f32(), modulation.f32(), weights.f32(), sums);
  if (parts == 1) return;
  const PartialSums partial{.partials = sums, .groups = norms, .parts = parts, .out = dWeights.f32(), .outStride = width, .accumulate = accumulate};
  addPartialSums(stream, width, &partial, 1);
}

}  // namespace repa::cuda
