// Self-distillation of soft labels, with the formulas of cpu/distillation.h.
//
//   entropy            one block a row.
//   distillationLoss   one block a row of the student, read three times, from memory and then from the caches: its maximum, its sums
//                      with the targets, its gradient. A row of 4096 is 16 KiB.
//
// Sums have one order.
#include "cuda/distillation.h"

#include "cuda/block_combine.h"
#include "cuda/blocks.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ float plus(float a, float b) { return a + b; }

__global__ void __launch_bounds__(kThreads) entropyKernel(const cpu::EntropyArgs args) {
  __shared__ float ofWarp[kWarps];
  const float* p = args.p + blockIdx.x * args.columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < args.columns; i += kThreads)
    if (p[i] > 0) sum -= p[i] * logf(p[i]);
  sum = blockCombine<kWarps>(sum, ofWarp, plus);
  if (threadIdx.x == 0) args.entropy[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) distillationLossKernel(const cpu::DistillationLossArgs args) {
  __shared__ float ofWarp[4][kWarps];
  const int64_t row = blockIdx.x, ownView = args.firstView + row / args.batch, sample = row % args.batch;
  const float* student = args.student + row * args.columns;
  const float* targets = args.targets + sample * args.columns;
  const auto target = [&](int64_t i) {
    float q = 0;
    for (int64_t view = 0; view < args.teacherViews; ++view)
      if (view != ownView) q += targets[view * args.batch * args.columns + i];
    return q;
  };
  float top = student[0];
  for (int64_t i = threadIdx.x; i < args.columns; i += kThreads) top = fmaxf(top, student[i]);
  top = blockCombine<kWarps>(top, ofWarp[0], larger);
  float sum = 0, mass = 0, products = 0;
  for (int64_t i = threadIdx.x; i < args.columns; i += kThreads) {
    const float z = args.scale * (student[i] - top), q = target(i);
    sum += expf(z);
    mass += q;
    products += q * z;
  }
  sum = blockCombine<kWarps>(sum, ofWarp[1], plus);
  mass = blockCombine<kWarps>(mass, ofWarp[2], plus);
  products = blockCombine<kWarps>(products, ofWarp[3], plus);
  if (threadIdx.x == 0) args.loss[row] = mass * logf(sum) - products;
  if (!args.dStudent) return;
  const float weight = args.weight * args.scale * lossScaleOf(args.state), factor = weight * mass / sum;
  for (int64_t i = threadIdx.x; i < args.columns; i += kThreads)
    args.dStudent[row * args.columns + i] = factor * expf(args.scale * (student[i] - top)) - weight * target(i);
}

}  // namespace

void entropy(cudaStream_t stream, const cpu::EntropyArgs& args) {
  if (args.rows == 0) return;
  launch(stream, entropyKernel, {.grid = dim3(blocksFor(args.rows, 1)), .block = dim3(kThreads)}, args);
}

void distillationLoss(cudaStream_t stream, const cpu::DistillationLossArgs& args) {
  launch(stream, distillationLossKernel, {.grid = dim3(blocksFor(args.views * args.batch, 1)), .block = dim3(kThreads)}, args);
}

}  // namespace repa::cuda
