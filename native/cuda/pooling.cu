// Pooling, channels last: a thread makes one element of the result, neighbouring threads neighbouring channels. Bound by memory; the
// pixels that windows share come from the caches.
#include "cuda/pooling.h"

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

struct Divisors {
  Divisor channel, column, row;
};

__global__ void __launch_bounds__(kThreads) pool2dKernel(cpu::PoolArgs args, Divisors divisors, int64_t count) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  int channel = static_cast<int>(index);
  int outColumn = divisors.channel.divide(channel);
  int outRow = divisors.column.divide(outColumn);
  const int64_t sample = divisors.row.divide(outRow);
  const int64_t y = outRow * args.strideHeight - args.padTop, x = outColumn * args.strideWidth - args.padLeft;
  const int64_t top = y > 0 ? y : 0, left = x > 0 ? x : 0;
  const int64_t bottom = min(y + args.kernelHeight, args.height), right = min(x + args.kernelWidth, args.width);
  const float* image = args.x + sample * args.height * args.width * args.channels + channel;
  const bool isMax = args.kind == cpu::PoolKind::max;
  float v = isMax ? image[(top * args.width + left) * args.channels] : 0.0f;
  for (int64_t row = top; row < bottom; ++row) {
    for (int64_t column = left; column < right; ++column) {
      const float pixel = image[(row * args.width + column) * args.channels];
      // A NaN of the window is its maximum, as in torch.
      if (isMax) v = v >= pixel || v != v ? v : pixel;
      else v += pixel;
    }
  }
  int64_t pixels = (bottom - top) * (right - left);
  if (args.kind == cpu::PoolKind::averageIncludingZeros)
    pixels = (min(y + args.kernelHeight, args.paddedHeight - args.padTop) - y) * (min(x + args.kernelWidth, args.paddedWidth - args.padLeft) - x);
  args.out[index] = isMax ? v : v * (1.0f / static_cast<float>(pixels));
}

}  // namespace

void pool2d(cudaStream_t stream, const cpu::PoolArgs& args) {
  const int64_t count = args.batch * args.outHeight * args.outWidth * args.channels;
  const Divisors divisors{Divisor(args.channels), Divisor(args.outWidth), Divisor(args.outHeight)};
  launch(stream, pool2dKernel, {.grid = dim3(blocksFor(count, kThreads)), .block = dim3(kThreads)}, args, divisors, count);
}

}  // namespace repa::cuda
