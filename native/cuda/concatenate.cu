// Joins along the last axis: a thread copies one element of one part, neighbouring threads neighbouring columns. Bound by memory.
#include "cuda/concatenate.h"

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) concatenateKernel(cpu::ConcatenateArgs args, Divisor width, int64_t count) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  int column = static_cast<int>(index);
  const int64_t row = width.divide(column);
  args.out[row * args.outWidth + column] = args.part[index];
}

}  // namespace

void concatenate(cudaStream_t stream, const cpu::ConcatenateArgs& args) {
  const int64_t count = args.rows * args.width;
  launch(stream, concatenateKernel, {.grid = dim3(blocksFor(count, kThreads)), .block = dim3(kThreads)}, args, Divisor(args.width), count);
}

}  // namespace repa::cuda
