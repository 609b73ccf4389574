// Stochastic interpolants between data (t = 0) and noise (t = 1), and the draw from an autoencoder's posterior. Bound by memory: a
// thread takes one access of 16 bytes of every operand (one element where an operand or a sample's size is not aligned), and a
// block a piece of one sample.
#include "cuda/interpolant.h"

#include <cmath>

#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// The path's coefficients and their derivatives by t.
struct Coefficients {
  float alpha, sigma, alphaSlope, sigmaSlope;
};

__device__ Coefficients coefficientsAt(bool cosinePath, float t) {
  if (!cosinePath) return {1.0f - t, t, -1.0f, 1.0f};
  const double halfPi = 1.5707963267948966;
  const double cosine = cos(halfPi * t), sine = sin(halfPi * t);
  return {static_cast<float>(cosine), static_cast<float>(sine), static_cast<float>(-halfPi * sine), static_cast<float>(halfPi * cosine)};
}

/// The N elements of a sample that are this thread's, or none.
struct Place {
  int64_t sample, offset;
};

template <int N>
__device__ __forceinline__ Place placeOf(int64_t piecesPerSample) {
  return {blockIdx.x / piecesPerSample, (blockIdx.x % piecesPerSample * kThreads + threadIdx.x) * N};
}

/// N divides the size.
template <int N>
__global__ void __launch_bounds__(kThreads) interpolantKernel(int64_t size, int64_t piecesPerSample, bool cosinePath, const float* x,
                                                              const float* noise, const float* t, float* interpolated, float* velocity) {
  const auto [sample, offset] = placeOf<N>(piecesPerSample);
  __shared__ Coefficients shared;
  if (threadIdx.x == 0) shared = coefficientsAt(cosinePath, t[sample]);
  __syncthreads();
  if (offset >= size) return;
  const Coefficients k = shared;
  const int64_t i = sample * size + offset;
  float a[N], b[N], xt[N], v[N];
  load(a, x + i);
  load(b, noise + i);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    // Which product is fused is written out, so that aligned or not makes no difference.
    xt[j] = __fmaf_rn(k.alpha, a[j], __fmul_rn(k.sigma, b[j]));
    v[j] = __fmaf_rn(k.alphaSlope, a[j], __fmul_rn(k.sigmaSlope, b[j]));
  }
  store(interpolated + i, xt);
  store(velocity + i, v);
}

/// N divides the size.
template <int N>
__global__ void __launch_bounds__(kThreads)
    samplePosteriorKernel(int64_t size, int64_t piecesPerSample, const float* moments, const float* noise, float scale, float bias,
                          float* latent) {
  const auto [sample, offset] = placeOf<N>(piecesPerSample);
  if (offset >= size) return;
  float mean[N], deviation[N], drawn[N];
  load(mean, moments + 2 * sample * size + offset);
  load(deviation, moments + (2 * sample + 1) * size + offset);
  load(drawn, noise + sample * size + offset);
#pragma unroll
  for (int j = 0; j < N; ++j) drawn[j] = (mean[j] + deviation[j] * drawn[j]) * scale + bias;
  store(latent + sample * size + offset, drawn);
}

/// Launches kernel(size, pieces, arguments...) over pieces of samples.
template <int N, class Kernel, class... Arguments>
void overSamples(cudaStream_t stream, Kernel kernel, int64_t batch, int64_t size, Arguments... arguments) {
  constexpr int64_t perBlock = int64_t{kThreads} * N;
  const int64_t pieces = (size + perBlock - 1) / perBlock;
  launch(stream, kernel, {.grid = dim3(static_cast<unsigned>(batch * pieces)), .block = dim3(kThreads)}, size, pieces, arguments...);
}

}  // namespace

void interpolant(cudaStream_t stream, const Tensor& x, const Tensor& noise, const Tensor& t, bool cosinePath, const Tensor& interpolated,
                 const Tensor& velocity) {
  if (x.elements() == 0) return;
  const int64_t batch = x.size(0), size = x.elements() / batch;
  const bool wide = size % 4 == 0 && aligned16(x.f32(), noise.f32(), interpolated.f32(), velocity.f32());
  const auto run = [&]<int N>() {
    overSamples<N>(stream, interpolantKernel<N>, batch, size, cosinePath, x.f32(), noise.f32(), t.f32(), interpolated.f32(),
                   velocity.f32());
  };
  if (wide) run.operator()<4>();
  else run.operator()<1>();
}

void samplePosterior(cudaStream_t stream, const Tensor& moments, const Tensor& noise, float scale, float bias, const Tensor& latent) {
  if (noise.elements() == 0) return;
  const int64_t batch = noise.size(0), size = noise.elements() / batch;
  const bool wide = size % 4 == 0 && aligned16(moments.f32(), noise.f32(), latent.f32());
  if (wide) overSamples<4>(stream, samplePosteriorKernel<4>, batch, size, moments.f32(), noise.f32(), scale, bias, latent.f32());
  else overSamples<1>(stream, samplePosteriorKernel<1>, batch, size, moments.f32(), noise.f32(), scale, bias, latent.f32());
}

}  // namespace repa::cuda
