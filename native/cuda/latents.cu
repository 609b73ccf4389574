// What an autoencoder's encoder says of images, as latents. Once a step and bound by memory: a thread takes one element, neighbouring
// threads neighbouring ones.
#include "cuda/latents.h"

#include <cmath>

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// The exponential is of a double, so that a GPU's moments are a CPU's: one of 2 C h w numbers an image, which no step's time shows.
__global__ void __launch_bounds__(kThreads) posteriorMomentsKernel(cpu::PosteriorMomentsArgs args, Divisor size, int count) {
  const int index = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (index >= count) return;
  const float value = args.parameters[index];
  const bool isMean = size.quotient(index) % 2 == 0;
  const float logVariance = value < cpu::kLeastLogVariance ? cpu::kLeastLogVariance : value > cpu::kMostLogVariance ? cpu::kMostLogVariance : value;
  args.moments[index] = isMean ? value : static_cast<float>(exp(0.5 * logVariance));
}

__global__ void __launch_bounds__(kThreads) standardizeKernel(cpu::StandardizeArgs args, Divisor size, Divisor groups, int count) {
  const int index = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (index >= count) return;
  int group = size.quotient(index);
  groups.divide(group);
  args.out[index] = __fdiv_rn(args.x[index] - args.mean[group], args.std[group]);
}

}  // namespace

void posteriorMoments(cudaStream_t stream, const cpu::PosteriorMomentsArgs& args) {
  const int64_t count = 2 * args.batch * args.size;
  launch(stream, posteriorMomentsKernel, {.grid = dim3(blocksFor(count, kThreads)), .block = dim3(kThreads)}, args, Divisor(args.size),
         static_cast<int>(count));
}

void standardize(cudaStream_t stream, const cpu::StandardizeArgs& args) {
  const int64_t count = args.batch * args.groups * args.size;
  launch(stream, standardizeKernel, {.grid = dim3(blocksFor(count, kThreads)), .block = dim3(kThreads)}, args, Divisor(args.size),
         Divisor(args.groups), static_cast<int>(count));
}

}  // namespace repa::cuda
