// The two training losses of REPA with their gradients, each in one pass over its operands.
//
//   cosineAlignment   one warp a token. A lane holds its columns of both rows in registers, eight neighbouring ones at a time, so that
//                     the gradient needs no second reading: SiT-XL with DINOv2-B reads 302 MB and writes 101 MB of bf16. Up to a
//                     width of 768 that takes 72 registers, three blocks a multiprocessor; up to 1536 120 registers, two blocks.
//   sampleMean        one warp a sample: the mean over its tokens' losses.
//   velocity          one block a sample.
//
// The sums of a token run in float32, 24 terms a lane at a width of 768 and then a butterfly; those over tokens and pixels, of which
// there are few, in double. All have one order.
#include "cuda/loss.h"

#include "cuda/block_sum.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
/// Neighbouring columns of a lane: 16 bytes of bf16 or f16, 32 of float32.
constexpr int kColumns = 8;
/// torch.nn.functional.normalize's.
constexpr float kSmallestNorm = 1e-12f;

/// Eight columns, in accesses of 16 bytes.
template <class T>
__device__ __forceinline__ void loadColumns(float (&to)[kColumns], const T* from) {
  constexpr int N = kVectorLength<T>;
#pragma unroll
  for (int part = 0; part < kColumns; part += N) {
    float values[N];
    load(values, from + part);
#pragma unroll
    for (int i = 0; i < N; ++i) to[part + i] = values[i];
  }
}

template <class T>
__device__ __forceinline__ void storeColumns(T* to, const float (&from)[kColumns]) {
  constexpr int N = kVectorLength<T>;
#pragma unroll
  for (int part = 0; part < kColumns; part += N) {
    float values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = from[part + i];
    store(to + part, values);
  }
}

/// What a token's -cos and gradient are made of, from its three products.
///     cos  = z.y / (n(z) n(y)),  n(x) = max(|x|, 1e-12), torch's normalize
///     dcos = (y / n(y) - cos z / n(z)) / n(z)   where |z| >= 1e-12
///     dcos =  y / n(y) / 1e-12                  where z was clamped and n(z) is a constant
struct Alignment {
  float cosine, scale, zScale, yScale;

  __device__ Alignment(float zz, float yy, float zy, float weight) {
    const float zNorm = sqrtf(zz), yNorm = sqrtf(yy);
    const float zLength = zNorm > kSmallestNorm ? zNorm : kSmallestNorm;
    const float yLength = yNorm > kSmallestNorm ? yNorm : kSmallestNorm;
    cosine = zy / zLength / yLength;
    yScale = 1.0f / yLength;
    zScale = zNorm >= kSmallestNorm ? cosine / zLength : 0.0f;
    scale = -weight / zLength;
  }

  __device__ float gradient(float z, float y) const { return scale * (yScale * y - zScale * z); }
};

template <class Z, class Y>
struct CosineAlignment {
  const Z* projection;
  const Y* target;
  float tokenWeight;
  const StepState* state;
  float* tokenLosses;
  Z* gradient;  // null: the loss only
  int64_t tokens;
  int width;
};

/// Rows of at most kSteps * 256 columns, a multiple of eight, aligned to 16 bytes.
template <int kSteps, class Z, class Y>
__global__ void __launch_bounds__(kThreads) cosineAlignmentKernel(const CosineAlignment<Z, Y> args) {
  const int lane = threadIdx.x % kWarp;
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (token >= args.tokens) return;
  const int64_t row = token * args.width;
  float z[kSteps][kColumns] = {}, y[kSteps][kColumns] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int column = (step * kWarp + lane) * kColumns;
    if (column >= args.width) continue;
    loadColumns(z[step], args.projection + row + column);
    loadColumns(y[step], args.target + row + column);
  }
  float zz = 0, yy = 0, zy = 0;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      zz += z[step][i] * z[step][i];
      yy += y[step][i] * y[step][i];
      zy += z[step][i] * y[step][i];
    }
  }
  const Alignment alignment(warpSum(zz), warpSum(yy), warpSum(zy), args.tokenWeight * lossScaleOf(args.state));
  if (lane == 0) args.tokenLosses[token] = -alignment.cosine;
  if (!args.gradient) return;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int column = (step * kWarp + lane) * kColumns;
    if (column >= args.width) continue;
    float gradient[kColumns];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) gradient[i] = alignment.gradient(z[step][i], y[step][i]);
    storeColumns(args.gradient + row + column, gradient);
  }
}

/// Rows of any width, which are read a second time for the gradient.
template <class Z, class Y>
__global__ void __launch_bounds__(kThreads) anyCosineAlignmentKernel(const CosineAlignment<Z, Y> args) {
  const int lane = threadIdx.x % kWarp;
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (token >= args.tokens) return;
  const Z* z = args.projection + token * args.width;
  const Y* y = args.target + token * args.width;
  float zz = 0, yy = 0, zy = 0;
  for (int i = lane; i < args.width; i += kWarp) {
    const float zi = toFloat(z[i]), yi = toFloat(y[i]);
    zz += zi * zi;
    yy += yi * yi;
    zy += zi * yi;
  }
  const Alignment alignment(warpSum(zz), warpSum(yy), warpSum(zy), args.tokenWeight * lossScaleOf(args.state));
  if (lane == 0) args.tokenLosses[token] = -alignment.cosine;
  if (!args.gradient) return;
  for (int i = lane; i < args.width; i += kWarp)
    args.gradient[token * args.width + i] = fromFloat<Z>(alignment.gradient(toFloat(z[i]), toFloat(y[i])));
}

__global__ void __launch_bounds__(kThreads) sampleMeanKernel(int64_t batch, int64_t tokens, const float* tokenLosses, float* loss) {
  const int lane = threadIdx.x % kWarp;
  const int64_t sample = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (sample >= batch) return;
  double sum = 0;
  for (int64_t token = lane; token < tokens; token += kWarp) sum += tokenLosses[sample * tokens + token];
  sum = warpSum(sum);
  if (lane == 0) loss[sample] = static_cast<float>(sum / static_cast<double>(tokens));
}

template <class P>
struct VelocityLoss {
  const P* prediction;
  const float* target;
  float gradientScale;
  const StepState* state;
  float* loss;
  P* gradient;  // null: the loss only
  int64_t size;
};

/// N divides the size.
template <int N, class P>
__global__ void __launch_bounds__(kThreads) velocityLossKernel(const VelocityLoss<P> args) {
  const int64_t sample = int64_t{blockIdx.x} * args.size;
  const float gradientScale = args.gradientScale * lossScaleOf(args.state);
  double sum = 0;
  for (int64_t i = threadIdx.x * N; i < args.size; i += kThreads * N) {
    float p[N], v[N];
    load(p, args.prediction + sample + i);
    load(v, args.target + sample + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      p[j] -= v[j];
      sum += double{p[j]} * p[j];
      p[j] *= gradientScale;
    }
    if (args.gradient) store(args.gradient + sample + i, p);
  }
  sum = blockSum<kThreads>(sum);
  if (threadIdx.x == 0) args.loss[blockIdx.x] = static_cast<float>(sum / static_cast<double>(args.size));
}

unsigned blocksOf(int64_t warps) { return static_cast<unsigned>((warps + kWarps - 1) / kWarps); }

template <class Z, class Y>
void cosineAlignmentTokens(cudaStream_t stream, const CosineAlignment<Z, Y>& args) {
  const LaunchShape shape = {.grid = dim3(blocksOf(args.tokens)), .block = dim3(kThreads)};
  const bool wide = args.width % kColumns == 0 && aligned16(args.projection, args.target, args.gradient);
  constexpr int kStep = kWarp * kColumns;
  if (wide && args.width <= 3 * kStep) launch(stream, cosineAlignmentKernel<3, Z, Y>, shape, args);
  else if (wide && args.width <= 6 * kStep) launch(stream, cosineAlignmentKernel<6, Z, Y>, shape, args);
  else launch(stream, anyCosineAlignmentKernel<Z, Y>, shape, args);
}

}  // namespace

void cosineAlignmentLoss(cudaStream_t stream, const Tensor& projection, const Tensor& target, float tokenWeight, const StepState* state,
                         const Tensor& loss, const Tensor* gradient, const Tensor& tokenLosses) {
  const int64_t batch = projection.size(0), tokens = projection.size(1);
  if (batch == 0) return;
  if (tokens > 0)
    withComputeType(projection.dtype(), [&](auto tag) {
      using Z = typename decltype(tag)::Type;
      const auto run = [&]<class Y>(const Y* targets) {
        cosineAlignmentTokens<Z, Y>(stream, {elements<const Z>(projection), targets, tokenWeight, state, tokenLosses.f32(),
                                             gradient ? elements<Z>(*gradient) : nullptr, batch * tokens,
                                             static_cast<int>(projection.size(2))});
      };
      if (target.dtype() == DType::f32) run(elements<const float>(target));
      else run(elements<const Z>(target));
    });
  launch(stream, sampleMeanKernel, {.grid = dim3(blocksOf(batch)), .block = dim3(kThreads)}, batch, tokens, tokenLosses.f32(), loss.f32());
}

void velocityLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float batchWeight, const StepState* state,
                  const Tensor& loss, const Tensor* gradient) {
  const int64_t batch = prediction.size(0), size = prediction.elements() / batch;
  const float gradientScale = static_cast<float>(2.0 * batchWeight / static_cast<double>(size * batch));
  withComputeType(prediction.dtype(), [&](auto tag) {
    using P = typename decltype(tag)::Type;
    const VelocityLoss<P> args = {elements<const P>(prediction), target.f32(), gradientScale, state, loss.f32(),
                                  gradient ? elements<P>(*gradient) : nullptr, size};
    const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(batch)), .block = dim3(kThreads)};
    if (size % 4 == 0 && aligned16(args.prediction, args.target, args.gradient)) launch(stream, velocityLossKernel<4, P>, shape, args);
    else launch(stream, velocityLossKernel<1, P>, shape, args);
  });
}

}  // namespace repa::cuda
