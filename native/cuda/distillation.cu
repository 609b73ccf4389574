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
    if (!(p[i] <= 0)) sum -= p[i] * logf(p[i]);
  sum = blockCombine<kWarps>(sum, ofWarp, plus);
  if (threadIdx.x == 0) args.entropy[blockIdx.x] = sum;
}

/// Σ over the teacher's views but `ownView` of its distribution of a sample, at one class; `targets` is of the sample and class in view 0.
__device__ __forceinline__ float targetAt(const float* targets, int teacherViews, int ownView, int64_t viewElements) {
  float q = 0;
#pragma unroll 1
  for (int view = 0; view < teacherViews; ++view, targets += viewElements)
    if (view != ownView) q += *targets;
  return q;
}

__global__ void __launch_bounds__(kThreads) distillationLossKernel(const __grid_constant__ cpu::DistillationLossArgs args) {
  __shared__ float ofWarp[4][kWarps];
  const int64_t row = blockIdx.x;
  const int columns = static_cast<int>(args.columns), teacherViews = static_cast<int>(args.teacherViews);
  const int ownView = static_cast<int>(min(args.firstView + row / args.batch, args.teacherViews));
  const int64_t viewElements = args.batch * args.columns;
  const float* const student = args.student + row * args.columns;
  const float* const targets = args.targets + row % args.batch * args.columns;
  float top = student[0];
  for (int i = threadIdx.x; i < columns; i += kThreads) top = fmaxf(top, student[i]);
  top = blockCombine<kWarps>(top, ofWarp[0], larger);
  float sum = 0, mass = 0, products = 0;
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    const float z = args.scale * (student[i] - top), q = targetAt(targets + i, teacherViews, ownView, viewElements);
    sum += expf(z);
    mass += q;
    products += q * z;
  }
  sum = blockCombine<kWarps>(sum, ofWarp[1], plus);
  mass = blockCombine<kWarps>(mass, ofWarp[2], plus);
  products = blockCombine<kWarps>(products, ofWarp[3], plus);
  if (threadIdx.x == 0) args.loss[row] = mass * logf(sum) - products;
  if (!args.dStudent) return;
  const float weight = args.rowWeight * args.scale * lossScaleOf(args.state), factor = weight * mass / sum;
  for (int i = threadIdx.x; i < columns; i += kThreads) {
    const float q = targetAt(targets + i, teacherViews, ownView, viewElements);
    args.dStudent[row * args.columns + i] = factor * expf(args.scale * (student[i] - top)) - weight * q;
  }
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
