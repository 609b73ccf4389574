// The smooth L1 loss: one block a sample, whose elements are read once and summed in double, in one order. Bound by memory.
#include "cuda/smooth_l1.h"

#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

template <class P>
__global__ void __launch_bounds__(kThreads) smoothL1Kernel(int64_t size, const P* prediction, const float* target, float beta, float elementWeight,
                                                          const StepState* state, float* loss, P* gradient) {
  __shared__ double ofWarp[kWarps];
  const int64_t sample = int64_t{blockIdx.x} * size;
  elementWeight *= lossScaleOf(state);
  double sum = 0;
  for (int64_t i = sample + threadIdx.x; i < sample + size; i += kThreads) {
    const float d = toFloat(prediction[i]) - target[i];
    // Not fmaxf and fminf: a NaN stays one, as in torch.
    const float ratio = d / beta;
    const float slope = ratio > 1.0f ? 1.0f : ratio < -1.0f ? -1.0f : ratio;
    // Both branches at once: within beta the clamped slope is d / beta, beyond it the sign of d.
    sum += slope * (d - 0.5f * beta * slope);
    if (gradient) gradient[i] = fromFloat<P>(elementWeight * slope);
  }
  sum = warpSum(sum);
  if (threadIdx.x % kWarp == 0) ofWarp[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < kWarps; ++warp) sum += ofWarp[warp];
  loss[blockIdx.x] = static_cast<float>(sum / static_cast<double>(size));
}

}  // namespace

void smoothL1Loss(cudaStream_t stream, const Tensor& prediction, const Tensor& target, float beta, float elementWeight, const StepState* state,
                  const Tensor& loss, const Tensor* gradient) {
  const int64_t batch = prediction.size(0);
  withComputeType(prediction.dtype(), [&](auto tag) {
    using P = typename decltype(tag)::Type;
    launch(stream, smoothL1Kernel<P>, {.grid = dim3(static_cast<unsigned>(batch)), .block = dim3(kThreads)}, prediction.elements() / batch,
           elements<const P>(prediction), target.f32(), beta, elementWeight, state, loss.f32(), gradient ? elements<P>(*gradient) : nullptr);
  });
}

}  // namespace repa::cuda
