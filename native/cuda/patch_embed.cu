// The patch embedding, forward: patch_embed_tile.cuh has the equation, the picture and the count of what bounds it.
//
// A block has two neighbouring tokens of many samples, whose positions it need not read again: 256 tokens of a batch of 256 are 128 pairs
// x 2 halves of the batch, two blocks on each of 132 SMs. It reads the image, 4 MB, and writes.
//
// A thread has 4 columns' weights for up to 32 elements, 2 columns' for up to 64.
#include "cuda/patch_embed.h"

#include <algorithm>

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/patch_embed_tile.cuh"

namespace repa::cuda {

namespace patch_embed {
namespace {

constexpr int kTokensOfBlock = 2;

template <class T>
struct Forward {
  Geometry of;
  const T* weight;
  const float *bias, *positions;  // bias may be null
  float* out;
  bool wide, wideWeight;
};

/// Row `column` of the weight; zeros beyond its last element.
template <int kDepth, class T>
__device__ __forceinline__ void readWeight(float (&to)[kDepth], const Forward<T>& args, int column) {
  constexpr int N = kVectorLength<T>;
  const T* const from = args.weight + int64_t{column} * args.of.inputs;
#pragma unroll
  for (int k = 0; k < kDepth; k += N) {
    float piece[N] = {};
    if (args.wideWeight) {
      if (k < args.of.inputs) load(piece, from + k);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (k + i < args.of.inputs) piece[i] = toFloat(from[k + i]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) to[k + i] = piece[i];
  }
}

template <int kDepth, int N, class T>
__global__ void __launch_bounds__(kMostThreads, kDepth == 16 ? 2 : 1) patchEmbedKernel(const Forward<T> args) {
  using Stages = Patches<T, kDepth>;
  __shared__ typename Stages::Shared shared;
  const Geometry& g = args.of;
  const int firstToken = static_cast<int>(blockIdx.x) * kTokensOfBlock, tokens = min(kTokensOfBlock, g.tokens - firstToken);
  const int begin = partBegin(g.batch, blockIdx.z, gridDim.z), end = partBegin(g.batch, blockIdx.z + 1, gridDim.z);
  const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * N;
  const bool inside = column < g.width;

  // Row r of a stage is token r % 2 of its sample r / 2.
  constexpr int kSamples = Stages::kRows / kTokensOfBlock;
  const int corners[kTokensOfBlock] = {g.corner(firstToken), tokens > 1 ? g.corner(firstToken + 1) : -1};
  Stages patches(shared, g, 0);
  const auto copy = [&](int stage) {
    patches.copy(stage, [&](int row) {
      const int sample = begin + stage * kSamples + row / kTokensOfBlock, corner = row % kTokensOfBlock == 0 ? corners[0] : corners[1];
      return sample < end && corner >= 0 ? sample * g.sampleElements + corner : int64_t{-1};
    });
    cpAsyncCommit();
  };
  copy(0);

  float weight[N][kDepth], bias[N] = {}, positions[kTokensOfBlock][N] = {};
  if (inside) {
#pragma unroll
    for (int c = 0; c < N; ++c) {
#pragma unroll
      for (int k = 0; k < kDepth; ++k) weight[c][k] = 0.0f;
      if (column + c < g.width) readWeight(weight[c], args, column + c);
    }
    if (args.bias) readColumns(bias, args.bias, column, g.width, args.wide);
#pragma unroll
    for (int t = 0; t < kTokensOfBlock; ++t)
      if (t < tokens) readColumns(positions[t], args.positions + int64_t{firstToken + t} * g.width, column, g.width, args.wide);
  }

  for (int stage = 0; begin + stage * kSamples < end; ++stage) {
    cpAsyncWait<0>();
    patches.round(stage);
    __syncthreads();  // the stage is there, and all have left the one before
    copy(stage + 1);
    if (!inside) continue;
    const int first = begin + stage * kSamples, samples = min(kSamples, end - first);
    float* to = args.out + (int64_t{first} * g.tokens + firstToken) * g.width;
#pragma unroll 1
    for (int sample = 0; sample < samples; ++sample, to += int64_t{g.tokens} * g.width) {
#pragma unroll
      for (int t = 0; t < kTokensOfBlock; ++t) {
        float sums[N] = {};
#pragma unroll
        for (int k = 0; k < kDepth; k += 4) {
          float four[4];
          load(four, patches.rows(stage) + (sample * kTokensOfBlock + t) * kDepth + k);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int c = 0; c < N; ++c) sums[c] = fmaf(four[i], weight[c][k + i], sums[c]);
        }
#pragma unroll
        for (int c = 0; c < N; ++c) sums[c] = sums[c] + bias[c] + positions[t][c];
        if (t < tokens) writeColumns(to + int64_t{t} * g.width, sums, column, g.width, args.wide);
      }
    }
  }
}

template <int kDepth, int N, class T>
void launchForward(cudaStream_t stream, Forward<T> args) {
  const Columns columns = columnsOf(args.of.width, N);
  const unsigned pairs = blocksFor(args.of.tokens, kTokensOfBlock);
  const int64_t parts = std::clamp<int64_t>(kThreadsOfChip / (int64_t{columns.threads} * columns.strips * pairs), 1, args.of.batch);
  args.wide = args.of.width % N == 0 && aligned16(args.bias, args.positions, args.out);
  args.wideWeight = args.of.inputs % kVectorLength<T> == 0 && aligned16(args.weight);
  launch(stream, patchEmbedKernel<kDepth, N, T>,
         {.grid = dim3(pairs, columns.strips, static_cast<unsigned>(parts)), .block = dim3(columns.threads)}, args);
}

}  // namespace
}  // namespace patch_embed

void patchEmbed(cudaStream_t stream, const Tensor& image, int64_t patch, const Tensor& weight, const std::optional<Tensor>& bias,
                const Tensor& positions, const Tensor& tokens) {
  using namespace patch_embed;
  if (tokens.elements() == 0) return;
  withComputeType(weight.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const Forward<T> args{.of = Geometry(image, patch, weight.size(0)), .weight = elements<const T>(weight),
                          .bias = bias ? bias->f32() : nullptr, .positions = positions.f32(), .out = tokens.f32(),
                          .wide = false, .wideWeight = false};
    if (args.of.inputs <= 16) launchForward<16, 4>(stream, args);
    else if (args.of.inputs <= 32) launchForward<32, 4>(stream, args);
    else launchForward<64, 2>(stream, args);
  });
}

}  // namespace repa::cuda
