// What diffusion does to samples beside calling the model (formulas: cpu/diffusion.h). A thread an element, a block a piece of one
// sample: all of it together is little beside one call of the model.
#include "cuda/diffusion.h"

#include <cmath>

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/kernel.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// The element of a sample that is this thread's, or none.
struct Place {
  int64_t sample, offset;
};

__device__ __forceinline__ Place placeOf(int64_t piecesPerSample) {
  return {blockIdx.x / piecesPerSample, blockIdx.x % piecesPerSample * kThreads + threadIdx.x};
}

__global__ void __launch_bounds__(kThreads)
    combineSamplesKernel(int64_t size, int64_t pieces, const float* x, const float* y, const int32_t* rows, const double* coefficients,
                         int64_t tableRows, float* out) {
  const auto [sample, offset] = placeOf(pieces);
  if (offset >= size) return;
  const int64_t row = rows[sample], i = sample * size + offset;
  const bool isInside = row >= 0 && row < tableRows;
  const float a = isInside ? static_cast<float>(coefficients[2 * row]) : NAN;
  float sum = a * x[i];
  if (y) sum += (isInside ? static_cast<float>(coefficients[2 * row + 1]) : NAN) * y[i];
  out[i] = sum;
}

__global__ void __launch_bounds__(kThreads)
    denoisingStepKernel(int64_t size, int64_t pieces, const double* x, const float* prediction, const float* noise,
                        const cpu::DenoisingStepCoefficients k, bool clip, bool hasV, double* out) {
  const auto [sample, offset] = placeOf(pieces);
  if (offset >= size) return;
  const int64_t i = sample * size + offset;
  const float* const predicted = prediction + sample * (hasV ? 2 : 1) * size + offset;
  double x0 = k.x0FromX * x[i] + k.x0FromPrediction * static_cast<double>(predicted[0]);
  if (clip) x0 = x0 < -1.0 ? -1.0 : x0 > 1.0 ? 1.0 : x0;
  double next = k.meanFromX0 * x0 + k.meanFromX * x[i];
  if (noise) {
    const double range = k.maxLogVariance - k.minLogVariance;
    // Where the step leaves the model no range, what it says of the variance counts for nothing, NaN too.
    const double f = hasV && range != 0.0 ? 0.5 * (static_cast<double>(predicted[size]) + 1.0) : 0.0;
    next += exp(0.5 * (k.minLogVariance + f * range)) * static_cast<double>(noise[i]);
  }
  out[i] = next;
}

__global__ void __launch_bounds__(kThreads)
    guideKernel(int64_t size, int64_t pieces, int64_t batch, const float* prediction, float scale, int64_t guided, float* out) {
  const auto [sample, offset] = placeOf(pieces);
  if (offset >= size) return;
  const int64_t c = sample * size + offset, u = c + batch * size;
  const float conditional = prediction[c], unconditional = prediction[u];
  const float value = unconditional + scale * (conditional - unconditional);
  out[c] = offset < guided ? value : conditional;
  out[u] = offset < guided ? value : unconditional;
}

template <class T>
__global__ void __launch_bounds__(kThreads) resizeChannelsKernel(int64_t toSize, int64_t pieces, const T* x, int64_t fromSize, T* out) {
  const auto [sample, offset] = placeOf(pieces);
  if (offset < toSize) out[sample * toSize + offset] = offset < fromSize ? x[sample * fromSize + offset] : fromFloat<T>(0.0f);
}

/// Launches kernel(size, pieces, arguments...) over pieces of samples.
template <class Kernel, class... Arguments>
void overSamples(cudaStream_t stream, Kernel kernel, int64_t batch, int64_t size, Arguments... arguments) {
  if (batch == 0 || size == 0) return;
  const int64_t pieces = (size + kThreads - 1) / kThreads;
  launch(stream, kernel, {.grid = dim3(blocksFor(batch * pieces, 1)), .block = dim3(kThreads)}, size, pieces, arguments...);
}

int64_t sampleSize(const Tensor& x) { return x.size(0) > 0 ? x.elements() / x.size(0) : 0; }

}  // namespace

void combineSamples(cudaStream_t stream, const Tensor& x, const Tensor* y, const Tensor& rows, const Tensor& coefficients, const Tensor& out) {
  const float* const second = y ? y->f32() : nullptr;
  overSamples(stream, combineSamplesKernel, x.size(0), sampleSize(x), x.f32(), second, rows.i32(), coefficients.f64(), coefficients.size(0),
              out.f32());
}

void denoisingStep(cudaStream_t stream, const Tensor& x, const Tensor& prediction, const Tensor* noise,
                   const cpu::DenoisingStepCoefficients& coefficients, bool clip, bool hasV, const Tensor& out) {
  const float* const drawn = noise ? noise->f32() : nullptr;
  overSamples(stream, denoisingStepKernel, x.size(0), sampleSize(x), x.f64(), prediction.f32(), drawn, coefficients, clip, hasV, out.f64());
}

void guide(cudaStream_t stream, const Tensor& prediction, float scale, int64_t size, int64_t guided, const Tensor& out) {
  const int64_t batch = prediction.size(0) / 2;
  overSamples(stream, guideKernel, batch, size, batch, prediction.f32(), scale, guided, out.f32());
}

void resizeChannels(cudaStream_t stream, const Tensor& x, int64_t fromSize, const Tensor& out, int64_t toSize) {
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    overSamples(stream, resizeChannelsKernel<T>, x.size(0), toSize, elements<const T>(x), fromSize, elements<T>(out));
  });
}

}  // namespace repa::cuda
