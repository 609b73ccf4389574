// Rotary positions of queries and keys, in place: in a pair of neighbouring columns of a head
//
//     y0 = x0 cos0 - x1 sin0        y1 = x1 cos1 + x0 sin1            (transposed: y0 = x0 cos0 + x1 sin1, y1 = x1 cos1 - x0 sin0)
//
// Bound by memory: two thirds of qkv are read and written. The tables are f32, four times as many bytes as what they turn in 16 bits, but
// every head of every sample has the same, so a thread keeps those of its columns in registers:
//
//     row of qkv    | head 0 of q | head 1 | ... | head H-1 of k | values, not touched
//     threads         0 .. d/N-1    d/N ..         one access of N elements each; a block covers as many heads at once as it has threads for
//
//     grid          x: tokens    y: walks over runs of samples, whose rows of that token the block takes one after the other
#include "cuda/rope.h"

#include <algorithm>

#include "core/error_code.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kMostThreads = 512;
/// Enough to fill a chip with blocks of 256 tokens and more, and to read the tables seldom.
constexpr int64_t kSamplesOfBlock = 8;

template <class T>
struct Rotation {
  T* qkv;
  const float* cos;
  const float* sin;
  int64_t batch, tokens;
  int heads, d;
  bool transposed;
};

/// Blocks of (d / N, heads at once).
template <int N, class T>
__global__ void __launch_bounds__(kMostThreads) rotateKernel(Rotation<T> args) {
  const int d = args.d, column = static_cast<int>(threadIdx.x) * N;
  const int64_t token = blockIdx.x;
  float own[N], sines[N], neighbour[N];
  if constexpr (N == 2) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      own[i] = args.cos[token * d + column + i];
      sines[i] = args.sin[token * d + column + i];
    }
  } else {
    load(own, args.cos + token * d + column);
    load(sines, args.sin + token * d + column);
  }
  // Of an even column -sin of its own, of an odd one sin; transposed, each takes the other's.
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float sine = args.transposed ? sines[i ^ 1] : sines[i];
    neighbour[i] = ((i & 1) != 0) != args.transposed ? sine : -sine;
  }
  for (int64_t first = blockIdx.y * kSamplesOfBlock; first < args.batch; first += gridDim.y * kSamplesOfBlock) {
    const int64_t end = min(first + kSamplesOfBlock, args.batch);
    for (int64_t sample = first; sample < end; ++sample) {
      T* const row = args.qkv + (sample * args.tokens + token) * 3 * args.heads * d + column;
      for (int head = static_cast<int>(threadIdx.y); head < 2 * args.heads; head += static_cast<int>(blockDim.y)) {
        float x[N], y[N];
        if constexpr (N == 2) {
          x[0] = toFloat(row[head * d]);
          x[1] = toFloat(row[head * d + 1]);
        } else {
          load(x, row + head * d);
        }
#pragma unroll
        for (int i = 0; i < N; ++i) y[i] = x[i] * own[i] + x[i ^ 1] * neighbour[i];
        if constexpr (N == 2) {
          row[head * d] = fromFloat<T>(y[0]);
          row[head * d + 1] = fromFloat<T>(y[1]);
        } else {
          store(row + head * d, y);
        }
      }
    }
  }
}

}  // namespace

void rotate(cudaStream_t stream, const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, bool transposed) {
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const Rotation<T> args{.qkv = elements<T>(qkv),
                           .cos = cos.f32(),
                           .sin = sin.f32(),
                           .batch = qkv.size(0),
                           .tokens = qkv.size(1),
                           .heads = static_cast<int>(heads),
                           .d = static_cast<int>(qkv.size(2) / (3 * heads)),
                           .transposed = transposed};
    const auto run = [&](auto n) {
      constexpr int N = decltype(n)::value;
      const int columns = args.d / N;
      if (columns > kMostThreads)
        throwError(ErrorCode::shape, "a head_dim of %d was asked for; the kernel takes at most %d of this dtype and alignment.", args.d,
                   kMostThreads * N);
      const int headsAtOnce = std::min(2 * args.heads, std::max(1, kMostThreads / columns));
      launch(stream, rotateKernel<N, T>,
             {.grid = dim3(blocksFor(args.tokens, 1), walkingBlocks((args.batch + kSamplesOfBlock - 1) / kSamplesOfBlock)),
              .block = dim3(columns, headsAtOnce)},
             args);
    };
    if (args.d % kVectorLength<T> == 0 && aligned16(args.qkv, args.cos, args.sin)) run(std::integral_constant<int, kVectorLength<T>>{});
    else run(std::integral_constant<int, 2>{});
  });
}

}  // namespace repa::cuda
