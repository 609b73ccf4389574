// Between 8-bit images and float tensors, with the bits of cpu/pixels.h. Bound by memory.
#include "cuda/pixels.h"

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kPixelsPerThread = 16;
constexpr int64_t kPixelsPerBlock = kThreads * kPixelsPerThread;

// ---- A byte has 256 values, so a channel has 256 results: a block makes their table with one division pair a thread, and its
// pixels are looked up. Two divisions a pixel, rounded as IEEE 754 has it, would cost more than the memory does.

struct Normalization {
  int64_t pixels;  // of a plane
  unsigned blocksPerPlane;
  float divisor, mean[3], std[3];
};

/// N neighbouring pixels a thread and turn.
template <int N>
__global__ void __launch_bounds__(kThreads)
normalizeImagesKernel(const __grid_constant__ Normalization n, const uint8_t* images, float* out) {
  __shared__ float levels[256];
  static_assert(kThreads == 256, "a thread makes one level");
  const unsigned plane = blockIdx.x / n.blocksPerPlane;
  images += plane * n.pixels;
  out += plane * n.pixels;
  const int64_t begin = int64_t{blockIdx.x % n.blocksPerPlane} * kPixelsPerBlock + static_cast<int>(threadIdx.x) * N;
  // All of them under way while the table is made.
  constexpr int kTurns = kPixelsPerThread / N;
  Vector<uint8_t, N> bytes[kTurns] = {};
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int64_t i = begin + turn * kThreads * N;
    if (i < n.pixels) bytes[turn] = *reinterpret_cast<const Vector<uint8_t, N>*>(images + i);
  }
  levels[threadIdx.x] = (static_cast<float>(threadIdx.x) / n.divisor - n.mean[plane % 3]) / n.std[plane % 3];
  __syncthreads();
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int64_t i = begin + turn * kThreads * N;
    if (i >= n.pixels) return;
    float values[N];
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = levels[bytes[turn].values[k]];
    store(out + i, values);
  }
}

// ---- A thread writes bytes of the result, whose channels are innermost: a warp's bytes are neighbours, and so are the pixels of a
// channel that it reads.

struct Levels {
  int imageElements;  // C pixels
  int64_t pixels;
  unsigned blocksPerImage;
  Divisor channels;
  double shift, scale, offset;
};

// Product and sum are rounded each, as torch's two ops are: fused, a pixel at the border of two levels would be another byte.
__device__ __forceinline__ float scaled(float x, float scale, float offset) { return __fadd_rn(__fmul_rn(x, scale), offset); }
__device__ __forceinline__ double scaled(double x, double scale, double offset) { return __dadd_rn(__dmul_rn(x, scale), offset); }

template <class Value>
__global__ void __launch_bounds__(kThreads) toUint8Kernel(const Levels l, const Value* images, uint8_t* out) {
  const int64_t image = blockIdx.x / l.blocksPerImage;
  images += image * l.imageElements;
  out += image * l.imageElements;
  const int64_t begin = int64_t{blockIdx.x % l.blocksPerImage} * kPixelsPerBlock;
  const Value shift = static_cast<Value>(l.shift), scale = static_cast<Value>(l.scale), offset = static_cast<Value>(l.offset);
#pragma unroll 4
  for (int turn = 0; turn < kPixelsPerThread; ++turn) {
    const int64_t i = begin + turn * kThreads + threadIdx.x;
    if (i >= l.imageElements) return;
    int channel = static_cast<int>(i);
    const int pixel = l.channels.divide(channel);
    const Value level = scaled(images[channel * l.pixels + pixel] + shift, scale, offset);
    // The comparisons are written so that NaN fails the first and becomes 0.
    const Value atLeast0 = level > Value{0} ? level : Value{0};
    const Value clamped = atLeast0 < Value{255} ? atLeast0 : Value{255};
    out[i] = static_cast<uint8_t>(static_cast<int32_t>(clamped));
  }
}

}  // namespace

void normalizeImages(cudaStream_t stream, const cpu::NormalizeImagesArgs& args) {
  if (args.batch == 0 || args.pixels == 0) return;
  const Normalization n{.pixels = args.pixels, .blocksPerPlane = blocksFor(args.pixels, kPixelsPerBlock), .divisor = args.divisor,
                        .mean = {args.mean[0], args.mean[1], args.mean[2]}, .std = {args.std[0], args.std[1], args.std[2]}};
  const bool vectors = args.pixels % 4 == 0 && aligned16(args.images, args.out);
  launch(stream, vectors ? normalizeImagesKernel<4> : normalizeImagesKernel<1>,
         {.grid = dim3(blocksFor(args.batch * 3 * n.blocksPerPlane, 1)), .block = dim3(kThreads)}, n, args.images, args.out);
}

void toUint8(cudaStream_t stream, const cpu::ToUint8Args& args) {
  const int64_t imageElements = args.channels * args.pixels;
  if (args.batch == 0 || imageElements == 0) return;
  const Levels l{.imageElements = static_cast<int>(imageElements), .pixels = args.pixels,
                 .blocksPerImage = blocksFor(imageElements, kPixelsPerBlock), .channels = Divisor(args.channels), .shift = args.shift,
                 .scale = args.scale, .offset = args.offset};
  const LaunchShape shape{.grid = dim3(blocksFor(args.batch * l.blocksPerImage, 1)), .block = dim3(kThreads)};
  if (args.isDouble) launch(stream, toUint8Kernel<double>, shape, l, static_cast<const double*>(args.images), args.out);
  else launch(stream, toUint8Kernel<float>, shape, l, static_cast<const float*>(args.images), args.out);
}

}  // namespace repa::cuda
