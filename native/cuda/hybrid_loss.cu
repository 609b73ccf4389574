// DiT's loss: the mean squared error of the prediction and the variational bound, with their gradient, in one pass (the formulas are
// at cpu/hybrid_loss.h).
//
// One block a sample, whose step of the diffusion, and so its row of the table, all threads share: the step that is a likelihood (t = 0)
// branches for whole blocks. Sums over a sample's elements run in double and have one order. Bound by memory, and small: a latent of
// 32 x 32 is 16 KB a sample.
#include "cuda/hybrid_loss.h"

#include <cmath>

#include "core/discretized_gaussian.h"
#include "cpu/hybrid_loss.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr double kLn2 = 0.69314718055994530942;

template <class P>
struct HybridLoss {
  const P* prediction;
  const float *target, *x0;
  const int32_t* t;
  const cpu::HybridLossStep* table;
  float *mse, *vb;
  P* gradient;  // null: the losses only
  double mseScale, vbScale;
  bool throughMean;
  const StepState* state;
  int64_t size, steps;
};

/// exp(w) - 1 - w, which keeps its digits where w is small: below ½ by its Taylor series.
__device__ __forceinline__ float expRemainder(float w) {
  if (!(fabsf(w) < 0.5f)) return expf(w) - 1.0f - w;
  float series = 1.98412698e-4f + 2.48015873e-5f * w;
  series = 1.38888889e-3f + series * w;
  series = 8.33333333e-3f + series * w;
  series = 4.16666667e-2f + series * w;
  series = 1.66666667e-1f + series * w;
  series = 0.5f + series * w;
  return w * w * series;
}

struct Sums {
  double mse, vb;
};

/// The block's sums, in thread 0.
__device__ __forceinline__ Sums blockSums(Sums sums) {
  __shared__ Sums ofWarp[kWarps];
  sums = {warpSum(sums.mse), warpSum(sums.vb)};
  if (threadIdx.x % kWarp == 0) ofWarp[threadIdx.x / kWarp] = sums;
  __syncthreads();
  if (threadIdx.x > 0) return sums;
  for (int warp = 1; warp < kWarps; ++warp) {
    sums.mse += ofWarp[warp].mse;
    sums.vb += ofWarp[warp].vb;
  }
  return sums;
}

template <class P>
__global__ void __launch_bounds__(kThreads) hybridLossKernel(const HybridLoss<P> args) {
  const int64_t size = args.size, sample = blockIdx.x;
  const P* const prediction = args.prediction + 2 * sample * size;
  const float* const target = args.target + sample * size;
  const float* const x0 = args.x0 + sample * size;
  P* const gradient = args.gradient ? args.gradient + 2 * sample * size : nullptr;
  const int64_t t = args.t[sample];
  if (t < 0 || t >= args.steps) {
    if (threadIdx.x == 0) args.mse[sample] = args.vb[sample] = NAN;
    if (gradient)
      for (int64_t i = threadIdx.x; i < 2 * size; i += kThreads) gradient[i] = fromFloat<P>(NAN);
    return;
  }
  const cpu::HybridLossStep step = args.table[t];
  const double lossScale = static_cast<double>(lossScaleOf(args.state));
  const float mseScale = static_cast<float>(lossScale * args.mseScale), vbScale = static_cast<float>(lossScale * args.vbScale);
  const float range = static_cast<float>(step.logRange), meanWeight = static_cast<float>(step.meanWeight);
  Sums sums = {0, 0};
  for (int64_t i = threadIdx.x; i < size; i += kThreads) {
    const float e = toFloat(prediction[i]) - target[i], v = toFloat(prediction[size + i]);
    sums.mse += double{e} * e;
    float byPrediction = mseScale * 2.0f * e, byV;
    if (t == 0) {
      const double u = 0.5 * (double{v} + 1.0) * step.logRange;
      const DiscretizedGaussian level = discretizedGaussian(x0[i], step.offset * e, step.logVariance + u);
      sums.vb -= level.logLikelihood;
      // The mean is x_0 - offset · e.
      if (args.throughMean) byPrediction += static_cast<float>(vbScale * level.byMean * step.offset);
      byV = static_cast<float>(vbScale * -0.5 * step.logRange * level.byLogVariance);
    } else {
      const float u = (0.5f * v + 0.5f) * range;
      const float remainder = expRemainder(-u), lessOne = remainder - u;  // exp(-u) - 1
      const float meanTerm = meanWeight * e * e * (lessOne + 1.0f);
      sums.vb += 0.5 * static_cast<double>(remainder + meanTerm);
      if (args.throughMean) byPrediction += vbScale * meanWeight * e * (lessOne + 1.0f);
      byV = vbScale * 0.25f * range * (-lessOne - meanTerm);
    }
    if (!gradient) continue;
    gradient[i] = fromFloat<P>(byPrediction);
    gradient[size + i] = fromFloat<P>(byV);
  }
  sums = blockSums(sums);
  if (threadIdx.x > 0) return;
  args.mse[sample] = static_cast<float>(sums.mse / static_cast<double>(size));
  args.vb[sample] = static_cast<float>(sums.vb / (static_cast<double>(size) * kLn2));
}

}  // namespace

void hybridLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, const Tensor& x0, const Tensor& t, const Tensor& table,
                double mseWeight, double vbWeight, bool throughMean, const StepState* state, const Tensor& mse, const Tensor& vb,
                const Tensor* gradient) {
  const int64_t batch = target.size(0), size = target.elements() / batch;
  const double count = static_cast<double>(batch) * static_cast<double>(size);
  withComputeType(prediction.dtype(), [&](auto tag) {
    using P = typename decltype(tag)::Type;
    const HybridLoss<P> args = {.prediction = elements<const P>(prediction),
                                .target = target.f32(),
                                .x0 = x0.f32(),
                                .t = t.i32(),
                                .table = static_cast<const cpu::HybridLossStep*>(table.data()),
                                .mse = mse.f32(),
                                .vb = vb.f32(),
                                .gradient = gradient ? elements<P>(*gradient) : nullptr,
                                .mseScale = mseWeight / count,
                                .vbScale = vbWeight / (count * kLn2),
                                .throughMean = throughMean,
                                .state = state,
                                .size = size,
                                .steps = table.size(0)};
    launch(stream, hybridLossKernel<P>, {.grid = dim3(static_cast<unsigned>(batch)), .block = dim3(kThreads)}, args);
  });
}

}  // namespace repa::cuda
