// The gradients of the patch embedding: patch_embed_tile.cuh has the equation, the picture and the count of what bounds them.
//
// One pass over dTokens, where a cast, a product and the sums of columns were three: 755 MB read and 151 MB written for 302 MB of it.
//
// A block has a run of rows, that is of dTokens' memory, and leaves one partial sum of every gradient in scratch, which partial_sums.cu
// adds up. How rows are cut depends on the sizes alone. A thread has 4 columns' sums for 16 or 32 elements; of patches with more than 32,
// two blocks have half of the elements each.
//
// dTokens comes through a ring in shared memory of 4 steps of 2 rows, 16 bytes a thread and row: 41 KB at 288 threads, three steps of it
// under way in each of two blocks, 55 KB an SM. A thread reads only what it copied itself, so the ring needs no barrier. The patches' stages
// lie before it and are no static shared memory, which ptxas would round up to the alignment of the dynamic, 1 KB: with what the system
// takes of each, two blocks are 99.1 KB, and an SM of 8.6, 8.9 or 12.0 has 100.
#include <algorithm>

#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/partial_sums.h"
#include "cuda/patch_embed.h"
#include "cuda/patch_embed_tile.cuh"

namespace repa::cuda {

namespace patch_embed {
namespace {

constexpr int kRowsAtOnce = 2;
constexpr int kSteps = 4;
constexpr int kRingRows = kSteps * kRowsAtOnce;
constexpr int kOwn = 4;  // columns of a thread
constexpr int kRingPitch = (kRingRows + 1) * kOwn;

struct Backward {
  Geometry of;
  const float* dTokens;
  float *weights, *biases;  // partial sums: [parts, D, C p p] and [parts, D]; biases may be null
};

/// kWide: a thread's columns are one access.
template <int kDepth, bool kWide, class T>
__global__ void __launch_bounds__(kMostThreads, kDepth == 16 && kWide ? 2 : 1) patchEmbedBackwardKernel(const Backward args) {
  using Stages = Patches<T, kDepth>;
  static_assert(Stages::kRows % kRingRows == 0, "the wait for a row says that the stage before it has arrived");
  static_assert(sizeof(typename Stages::Shared) % 16 == 0, "the ring begins on 16 bytes");
  REPA_DYNAMIC_SHARED(bytes);
  auto& shared = *reinterpret_cast<typename Stages::Shared*>(bytes);
  const Geometry& g = args.of;
  const int64_t rows = int64_t{g.batch} * g.tokens;
  const int begin = partBegin(rows, blockIdx.z, gridDim.z), count = partBegin(rows, blockIdx.z + 1, gridDim.z) - begin;
  const int firstInput = static_cast<int>(blockIdx.x) * kDepth;
  const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kOwn;
  const bool inside = column < g.width;

  Stages patches(shared, g, firstInput);
  const auto copyPatches = [&](int stage) {
    patches.copy(stage, [&](int row) {
      int token = stage * Stages::kRows + row;
      if (token >= count) return int64_t{-1};
      token += begin;
      const int sample = g.tokensOfSample.divide(token);
      return sample * g.sampleElements + g.corner(token);
    });
  };
  // The thread's columns of the ring's rows. Its rows lie together, so that which one is no arithmetic, and 16 bytes further than they
  // need, so that neighbours meet other banks.
  float* const own = reinterpret_cast<float*>(bytes + sizeof(shared)) + threadIdx.x * kRingPitch;
  if (!kWide)
    for (int i = 0; i < kRingRows * kOwn; ++i) own[i] = 0.0f;  // what stays beyond the last column
  const float* next = args.dTokens + int64_t{begin} * g.width + column;
  int left = inside ? count : 0;  // rows that the thread has not used yet
  const auto copyStep = [&](int step, int ahead) {
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      float* const to = own + (step * kRowsAtOnce + r) * kOwn;
      if (ahead * kRowsAtOnce + r < left) {
        if constexpr (kWide) {
          cpAsync<16>(to, next);
        } else {
#pragma unroll
          for (int c = 0; c < kOwn; ++c)
            if (column + c < g.width) cpAsync<4>(to + c, next + c);
        }
      }
      next += g.width;
    }
    cpAsyncCommit();
  };

  copyPatches(0);  // of the first step's group
#pragma unroll
  for (int step = 0; step < kSteps - 1; ++step) copyStep(step, step);

  float weight[kOwn][kDepth], bias[kOwn] = {};
#pragma unroll
  for (int c = 0; c < kOwn; ++c)
#pragma unroll
    for (int k = 0; k < kDepth; ++k) weight[c][k] = 0.0f;

  for (int stage = 0; stage * Stages::kRows < count; ++stage) {
    cpAsyncWait<kSteps - 2>();  // the group that this stage's patches came with
    patches.round(stage);
    __syncthreads();  // the stage is there, and all have left the one before
    copyPatches(stage + 1);
    const float* x = patches.rows(stage);
#pragma unroll 1
    for (int first = 0; first < Stages::kRows; first += kRingRows, x += kRingRows * kDepth) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        copyStep((step + kSteps - 1) % kSteps, kSteps - 1);  // into what the last step has read
        cpAsyncWait<kSteps - 1>();
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; ++r) {
          if (r >= left) continue;
          const int row = step * kRowsAtOnce + r;
          float d[kOwn];
          load(d, own + row * kOwn);
#pragma unroll
          for (int c = 0; c < kOwn; ++c) bias[c] += d[c];
          if constexpr (!std::is_same_v<T, float>) {
#pragma unroll
            for (int c = 0; c < kOwn; c += 2) {
              const FloatPair rounded = unpack2<T>(pack2<T>(d[c], d[c + 1]));
              d[c] = rounded.lo, d[c + 1] = rounded.hi;
            }
          }
#pragma unroll
          for (int k = 0; k < kDepth; k += 4) {
            float four[4];
            load(four, x + row * kDepth + k);
#pragma unroll
            for (int c = 0; c < kOwn; ++c)
#pragma unroll
              for (int i = 0; i < 4; ++i) weight[c][k + i] = fmaf(d[c], four[i], weight[c][k + i]);
          }
        }
        left -= kRowsAtOnce;
      }
    }
  }

  if (!inside) return;
#pragma unroll
  for (int c = 0; c < kOwn; ++c) {
    if (column + c >= g.width) break;
    float* const to = args.weights + (int64_t{blockIdx.z} * g.width + column + c) * g.inputs + firstInput;
    if (g.inputs % 4 == 0) {
#pragma unroll
      for (int k = 0; k < kDepth; k += 4) {
        const float four[4] = {weight[c][k], weight[c][k + 1], weight[c][k + 2], weight[c][k + 3]};
        if (firstInput + k < g.inputs) storeStruct(to + k, four);
      }
    } else {
#pragma unroll
      for (int k = 0; k < kDepth; ++k)
        if (firstInput + k < g.inputs) to[k] = weight[c][k];
    }
  }
  if (args.biases && firstInput == 0) writeColumns(args.biases + int64_t{blockIdx.z} * g.width, bias, column, g.width, kWide);
}

/// Elements of a patch whose sums a block has; more than 32 are shared out among several.
constexpr int depthOf(int64_t inputs) { return inputs <= 16 ? 16 : 32; }
constexpr unsigned slicesOf(int64_t inputs) { return inputs <= 32 ? 1 : static_cast<unsigned>((inputs + 31) / 32); }

/// No part of fewer than 64 rows: it costs the traffic of 34.
int64_t partsOf(int64_t rows, int64_t width, int64_t inputs) {
  constexpr int64_t leastRows = 64;
  const Columns columns = columnsOf(width, kOwn);
  const int64_t wanted = kThreadsOfChip / (int64_t{columns.threads} * columns.strips * slicesOf(inputs));
  return std::max<int64_t>(std::min(wanted, rows / leastRows), 1);
}

template <int kDepth, class T>
void launchBackward(cudaStream_t stream, const Backward& args, int64_t parts, bool wide) {
  const Columns columns = columnsOf(args.of.width, kOwn);
  launch(stream, wide ? patchEmbedBackwardKernel<kDepth, true, T> : patchEmbedBackwardKernel<kDepth, false, T>,
         {.grid = dim3(slicesOf(args.of.inputs), columns.strips, static_cast<unsigned>(parts)), .block = dim3(columns.threads),
          .sharedBytes = sizeof(typename Patches<T, kDepth>::Shared) + columns.threads * kRingPitch * sizeof(float)},
         args);
}

}  // namespace
}  // namespace patch_embed

void patchEmbedBackward(cudaStream_t stream, const Tensor& dTokens, const Tensor& image, int64_t patch, DType dtype, const Tensor& dWeight,
                        const std::optional<Tensor>& dBias, bool accumulate, const Tensor& scratch) {
  using namespace patch_embed;
  const int64_t width = dWeight.size(0), inputs = dWeight.size(1), rows = dTokens.size(0) * dTokens.size(1);
  if (width == 0) return;
  const int64_t parts = rows > 0 ? partsOf(rows, width, inputs) : 0;
  float* const biases = scratch.f32() + parts * width * inputs;
  if (parts > 0)
    withComputeType(dtype, [&](auto tag) {
      using T = typename decltype(tag)::Type;
      const Backward args{.of = Geometry(image, patch, width), .dTokens = dTokens.f32(), .weights = scratch.f32(),
                          .biases = dBias ? biases : nullptr};
      const bool wide = width % kOwn == 0 && aligned16(args.dTokens, biases);
      if (depthOf(inputs) == 16) launchBackward<16, T>(stream, args, parts, wide);
      else launchBackward<32, T>(stream, args, parts, wide);
    });
  const PartialSums weights{.partials = scratch.f32(), .groups = 1, .parts = parts, .out = dWeight.f32(), .outStride = 0, .accumulate = accumulate};
  addPartialSums(stream, width * inputs, &weights, 1);
  if (!dBias) return;
  const PartialSums bias{.partials = biases, .groups = 1, .parts = parts, .out = dBias->f32(), .outStride = 0, .accumulate = accumulate};
  addPartialSums(stream, width, &bias, 1);
}

int64_t patchEmbedBackwardScratchFloats(const Tensor& dTokens, const Tensor& dWeight) {
  const int64_t width = dWeight.size(0), inputs = dWeight.size(1);
  if (width == 0) return 0;
  return patch_embed::partsOf(dTokens.size(0) * dTokens.size(1), width, inputs) * width * (inputs + 1);
}

}  // namespace repa::cuda
