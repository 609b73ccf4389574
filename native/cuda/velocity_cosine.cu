// The loss of a velocity's direction: one block a sample, [C, pixels]. A thread takes every kThreads-th pixel, so that neighbouring threads read
// neighbouring numbers of a channel, and goes through the channels twice: for the dot product and both norms, and for the gradient, when
// L2 still has them (8 MB for 256 samples of 32 x 16 x 16). The pixels' losses are summed in double, in one order.
//
//     n = max(|p|, 1e-8), m = max(|t|, 1e-8), c = p·t / (n m)       loss = mean of 1 - c
//     gradient = -pixelWeight (t / (n m) - c p / (n |p|)), of no p without the last term: as torch's cosine_similarity, which clamps norms
//     where it divides by them and not where it differentiates them
#include "cuda/velocity_cosine.h"

#include "cuda/block_sum.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr float kLeastNorm = 1e-8f;

template <class P>
__global__ void __launch_bounds__(kThreads) velocityCosineKernel(int64_t channels, int64_t pixels, const P* prediction, const float* target,
                                                                float pixelWeight, const StepState* state, float* loss, P* gradient) {
  const int64_t sample = int64_t{blockIdx.x} * channels * pixels;
  pixelWeight *= lossScaleOf(state);
  double sum = 0;
  for (int64_t pixel = threadIdx.x; pixel < pixels; pixel += kThreads) {
    float dot = 0, squaresP = 0, squaresT = 0;
    for (int64_t at = sample + pixel; at < sample + channels * pixels; at += pixels) {
      const float p = toFloat(prediction[at]), t = target[at];
      dot += p * t;
      squaresP += p * p;
      squaresT += t * t;
    }
    const float norm = sqrtf(squaresP), ofTarget = sqrtf(squaresT);
    // Not fmaxf: a NaN stays one, as in torch.
    const float n = norm < kLeastNorm ? kLeastNorm : norm, m = ofTarget < kLeastNorm ? kLeastNorm : ofTarget;
    const float cosine = dot / (n * m);
    sum += 1.0f - cosine;
    if (!gradient) continue;
    const float byTarget = pixelWeight / (n * m), byOwn = norm > 0.0f ? pixelWeight * cosine / (n * norm) : 0.0f;
    for (int64_t at = sample + pixel; at < sample + channels * pixels; at += pixels)
      gradient[at] = fromFloat<P>(byOwn * toFloat(prediction[at]) - byTarget * target[at]);
  }
  sum = blockSum<kThreads>(sum);
  if (threadIdx.x == 0) loss[blockIdx.x] = static_cast<float>(sum / static_cast<double>(pixels));
}

}  // namespace

void velocityCosineLoss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float pixelWeight, const StepState* state,
                        const Tensor& loss, const Tensor* gradient) {
  const int64_t batch = prediction.size(0), channels = prediction.size(1);
  withComputeType(prediction.dtype(), [&](auto tag) {
    using P = typename decltype(tag)::Type;
    launch(stream, velocityCosineKernel<P>, {.grid = dim3(static_cast<unsigned>(batch)), .block = dim3(kThreads)}, channels,
           prediction.elements() / (batch * channels), elements<const P>(prediction), target.f32(), pixelWeight, state, loss.f32(),
           gradient ? elements<P>(*gradient) : nullptr);
  });
}

}  // namespace repa::cuda
