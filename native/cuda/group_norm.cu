// GroupNorm, channels last. Statistics: a block takes a part of a sample's pixels and a strip of channels; a warp's lanes run along the
// channels, so that it reads whole lines, and its warps take every 8th pixel:
//
//     channels   0 .. 31 | 32 .. 63 | ...
//     part 0      block     block            moments [sample, part, 2, channel]: mean, sum of squared distances from it
//     part 1      block     block
//
// A channel's sums are of distances from its first pixel in the part, which is near enough to the mean that nothing cancels. Parts and
// channels of a group are then put together in double (Chan, Golub and LeVeque 1983), one block a group, always in the same order.
#include "cuda/group_norm.h"

#include <algorithm>

#include "core/error_code.h"
#include "cuda/activation_math.h"
#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

int64_t partsOf(const cpu::GroupNormCoefficientsArgs& args) {
  // The most because a part's first pixel may be far from its mean, as at the border of a flat picture: the squares of so many equal
  // distances, each rounded the same way, are then all of its variance.
  constexpr int64_t kBlocks = 8 * 132, kLeastPixels = 64, kMostPixels = 4096;
  const int64_t strips = (args.channels + 31) / 32;
  const int64_t wanted = kBlocks / (strips * args.batch) + 1, possible = (args.pixels + kLeastPixels - 1) / kLeastPixels;
  return std::max(std::min(wanted, possible), (args.pixels + kMostPixels - 1) / kMostPixels);
}

template <class T>
__global__ void __launch_bounds__(kThreads) momentsKernel(int64_t batch, int64_t pixels, int64_t channels, int parts, const T* x, float* moments) {
  __shared__ float joined[2][kWarps][32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t channel = int64_t{blockIdx.x} * 32 + lane;
  const int64_t part = blockIdx.y;
  const int64_t begin = pixels * part / parts, end = pixels * (part + 1) / parts;
  for (int64_t sample = blockIdx.z; sample < batch; sample += gridDim.z) {
    const T* from = x + sample * pixels * channels + channel;
    float sum = 0.0f, squares = 0.0f, near = 0.0f;
    if (channel < channels) {
      near = toFloat(from[begin * channels]);
#pragma unroll 4
      for (int64_t pixel = begin + warp; pixel < end; pixel += kWarps) {
        const float d = toFloat(from[pixel * channels]) - near;
        sum += d;
        squares += d * d;
      }
    }
    joined[0][warp][lane] = sum;
    joined[1][warp][lane] = squares;
    __syncthreads();
    if (warp == 0 && channel < channels) {
      sum = squares = 0.0f;
      for (int w = 0; w < kWarps; ++w) {
        sum += joined[0][w][lane];
        squares += joined[1][w][lane];
      }
      const float count = static_cast<float>(end - begin);
      float* to = moments + (sample * parts + part) * 2 * channels + channel;
      to[0] = near + sum / count;
      to[channels] = squares - sum * sum / count;
    }
    __syncthreads();
  }
}

struct Moments {
  double count, mean, squares;
};

__device__ __forceinline__ Moments together(const Moments& a, const Moments& b) {
  if (b.count == 0) return a;
  if (a.count == 0) return b;
  const double count = a.count + b.count, distance = b.mean - a.mean;
  return {count, a.mean + distance * b.count / count, a.squares + b.squares + distance * distance * a.count * b.count / count};
}

__global__ void __launch_bounds__(kThreads) coefficientsKernel(cpu::GroupNormCoefficientsArgs args, int parts) {
  __shared__ Moments joined[kThreads];
  const int64_t width = args.channels / args.groups, first = int64_t{blockIdx.x} * width;
  for (int64_t sample = blockIdx.y; sample < args.batch; sample += gridDim.y) {
    Moments mine = {0, 0, 0};
    for (int64_t i = threadIdx.x; i < parts * width; i += kThreads) {
      const int64_t part = i / width, channel = first + i % width;
      const float* from = args.scratch + (sample * parts + part) * 2 * args.channels + channel;
      const double count = static_cast<double>(args.pixels * (part + 1) / parts - args.pixels * part / parts);
      mine = together(mine, {count, from[0], from[args.channels]});
    }
    joined[threadIdx.x] = mine;
    for (unsigned half = kThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) joined[threadIdx.x] = together(joined[threadIdx.x], joined[threadIdx.x + half]);
    }
    __syncthreads();
    const Moments all = joined[0];
    const double rstd = 1.0 / sqrt(all.squares / all.count + args.epsilon);
    float* scale = args.coefficients + sample * 2 * args.channels;
    for (int64_t channel = first + threadIdx.x; channel < first + width; channel += kThreads) {
      const double factor = rstd * args.weight[channel];
      scale[channel] = static_cast<float>(factor);
      scale[args.channels + channel] = static_cast<float>(args.bias[channel] - all.mean * factor);
    }
    __syncthreads();
  }
}

/// N neighbouring channels a thread. The grid's y walks over the samples.
template <int N, class From, class To>
__global__ void __launch_bounds__(kThreads) scaleShiftKernel(int64_t batch, int64_t vectors, int channels, Divisor channelVectors,
                                                             const From* x, const float* coefficients, cpu::ConvActivation activation, To* out) {
  for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y) {
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < vectors; i += int64_t{gridDim.x} * kThreads) {
      const int64_t element = (sample * vectors + i) * N;
      float v[N];
      load(v, x + element);
      if (coefficients) {
        int vector = static_cast<int>(i);
        channelVectors.divide(vector);
        const float* const own = coefficients + sample * 2 * channels + vector * N;
        float scale[N], shift[N];
        load(scale, own);
        load(shift, own + channels);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = v[j] * scale[j] + shift[j];
      }
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (activation == cpu::ConvActivation::silu) v[j] = silu<To>(v[j]);
        if (activation == cpu::ConvActivation::relu) v[j] = v[j] < 0.0f ? 0.0f : v[j];
      }
      store(out + element, v);
    }
  }
}

}  // namespace

int64_t groupNormScratchFloats(const cpu::GroupNormCoefficientsArgs& args) { return args.batch * partsOf(args) * 2 * args.channels; }

void groupNormCoefficients(cudaStream_t stream, const cpu::GroupNormCoefficientsArgs& args, const Tensor& x) {
  const int parts = static_cast<int>(partsOf(args));
  withComputeType(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const dim3 grid(blocksFor(args.channels, 32), static_cast<unsigned>(parts), walkingBlocks(args.batch));
    launch(stream, momentsKernel<T>, {.grid = grid, .block = dim3(kThreads)}, args.batch, args.pixels, args.channels, parts, elements<const T>(x),
           args.scratch);
  });
  launch(stream, coefficientsKernel, {.grid = dim3(static_cast<unsigned>(args.groups), walkingBlocks(args.batch)), .block = dim3(kThreads)}, args, parts);
}

void scaleShift(cudaStream_t stream, const Tensor& x, const float* coefficients, cpu::ConvActivation activation, const Tensor& out) {
  const int64_t batch = x.size(0), channels = x.size(-1), count = x.elements() / batch;
  withComputeType(x.dtype(), [&](auto from) {
    withComputeType(out.dtype(), [&](auto to) {
      using From = typename decltype(from)::Type;
      using To = typename decltype(to)::Type;
      const From* px = elements<const From>(x);
      To* po = elements<To>(out);
      const auto run = [&](auto kernel, int64_t n) {
        const int64_t vectors = count / n;
        if (vectors >= int64_t{1} << 31)
          throwError(ErrorCode::shape, "a sample of %lld elements is more than a GPU's kernel counts, 2^31.", static_cast<long long>(count));
        const dim3 grid(std::min(blocksFor(vectors, kThreads), 1u << 20), walkingBlocks(batch));
        launch(stream, kernel, {.grid = grid, .block = dim3(kThreads)}, batch, vectors, static_cast<int>(channels), Divisor(channels / n), px,
               coefficients, activation, po);
      };
      if (channels % 4 == 0 && aligned16(px, po, coefficients)) run(scaleShiftKernel<4, From, To>, 4);
      else run(scaleShiftKernel<1, From, To>, 1);
    });
  });
}

}  // namespace repa::cuda
