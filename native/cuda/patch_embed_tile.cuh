// What the two directions of the patch embedding share (patch_embed.cu, patch_embed_backward.cu): an image's patches times a weight of few
// inputs, and that weight's gradient.
//
//     tokens[b, t, d] = sum_k patch(b, t)[k] weight[d, k] + bias[d] + positions[t, d]        k = (channel, py, px), C p p of them
//     dWeight[d, k]   = sum_{b, t} dTokens[b, t, d] patch(b, t)[k]                           dBias[d] = sum_{b, t} dTokens[b, t, d]
//
// With 4 channels and patches of 2 a patch is 16 numbers: 65,536 x 1152 x 16 is 1.2 G multiply-adds, 0.04 ms of an H200's fp32 units, but
// 302 MB of fp32 tokens, 0.07 ms of its memory. So each direction is one pass over the tokens, and the product is made on the way by
// plain multiply-adds.
//
// A thread owns neighbouring columns for as long as its block lives, and what belongs to them stays in registers; the patches of the next
// rows are in shared memory, where all threads of a warp read the same four numbers at once:
//
//                        columns    thread 0 | thread 1 | ... | thread 287        4 each: 1152 are one block's, 9 warps
//     patches (shared)
//     row 0   k 0 .. 15 ─────────▶  x weights of the thread's columns (forward), or x dTokens into their gradients (backward)
//     row 1   k 0 .. 15 ─────────▶
//
// Patches lie in two stages of 4 KB: 64 rows of 16 numbers (32 of 32, 16 of 64), copied by cp.async while the rows before are computed
// with. A thread rounds to the dtype of computation what it copied itself, so a stage costs one barrier. Patches of fewer than 16, 32 or
// 64 elements are made up with zeros.
//
// Registers: 64 weights (or sums) of 4 columns x 16 elements, and 96 in all, what lets two blocks of 9 warps share an SM. Longer patches
// take 128, of 168.
//
// By count, in cycles of an SM for a row of a warp, 128 columns: the multiply-adds of 16 elements are 16, shared memory is busy for 20
// forward and 24 backward (a row's patch is four reads of 16 bytes a thread), instructions take 23 and 25 to issue (nvcc 13, sm_90), and
// memory takes 28 at 4.3 TB/s and 1.75 GHz. Memory is the bound, by little. Of patches of 64 elements there are a quarter as many for
// the same arithmetic, and shared memory is the bound. No chip has timed any of it yet.
#pragma once

#include <type_traits>

#include "core/tensor.h"
#include "cuda/divisor.h"
#include "cuda/kernel.h"
#include "cuda/vector.h"

namespace repa::cuda::patch_embed {

/// Of a block: 4 columns each of a width of 1152.
constexpr int kMostThreads = 288;
/// What two blocks of that size on each of 132 SMs have.
constexpr int64_t kThreadsOfChip = int64_t{2} * 132 * kMostThreads;

struct Geometry {
  const float* image;
  int64_t sampleElements;  // C H W
  int batch, tokens, width, inputs;
  int imageHeight, imageWidth;
  Divisor patch, patchArea, patchesAcross, tokensOfSample;

  Geometry(const Tensor& from, int64_t side, int64_t columns)
      : image(from.f32()), sampleElements(from.size(1) * from.size(2) * from.size(3)), batch(static_cast<int>(from.size(0))),
        tokens(static_cast<int>(from.size(2) / side * (from.size(3) / side))), width(static_cast<int>(columns)),
        inputs(static_cast<int>(from.size(1) * side * side)), imageHeight(static_cast<int>(from.size(2))),
        imageWidth(static_cast<int>(from.size(3))), patch(side), patchArea(side * side), patchesAcross(from.size(3) / side),
        tokensOfSample(tokens) {}

  /// The first pixel of a token's patch, within its sample.
  __device__ __forceinline__ int corner(int token) const {
    const int row = patchesAcross.divide(token);
    return (row * imageWidth + token) * patch.value();
  }
  /// From there to the pixel that is element k of the patch.
  __device__ __forceinline__ int pixel(int k) const {
    const int channel = patchArea.divide(k);
    const int py = patch.divide(k);
    return (channel * imageHeight + py) * imageWidth + k;
  }
};

/// Where one of `parts` begins into which `count` is cut.
__device__ __forceinline__ int partBegin(int64_t count, unsigned part, unsigned parts) { return static_cast<int>(count * part / parts); }

/// How columns are shared out: `strips` blocks beside each other.
struct Columns {
  unsigned strips, threads;
};

inline Columns columnsOf(int64_t width, int64_t columnsOfThread) {
  const int64_t owners = (width + columnsOfThread - 1) / columnsOfThread;
  const int64_t strips = (owners + kMostThreads - 1) / kMostThreads;
  const int64_t threads = ((owners + strips - 1) / strips + 31) / 32 * 32;
  return {static_cast<unsigned>(strips), static_cast<unsigned>(threads)};
}

constexpr int kStageFloats = 1024;

/// Patches of the rows that a block walks over, `kDepth` numbers a row from element `first` on, in two stages.
template <class T, int kDepth>
class Patches {
 public:
  static constexpr int kRows = kStageFloats / kDepth;

  struct Shared {
    Vector<float, 4> stages[2][kStageFloats / 4];
    int pixels[kDepth];
  };

  __device__ __forceinline__ Patches(Shared& shared, const Geometry& g, int first) : shared_(shared), image_(g.image) {
    for (int k = threadIdx.x; k < kDepth; k += blockDim.x) shared.pixels[k] = first + k < g.inputs ? g.pixel(first + k) : -1;
    for (int i = threadIdx.x; i < 2 * kStageFloats; i += blockDim.x) stage(0)[i] = 0.0f;  // what stays where there is nothing to copy
    __syncthreads();
  }

  /// Starts to copy a stage; corner(row): the first pixel of the patch of the stage's row, from the image's begin, or -1.
  template <class Corner>
  __device__ __forceinline__ void copy(int index, Corner corner) {
    for (int i = threadIdx.x; i < kStageFloats; i += blockDim.x) {
      const int pixel = shared_.pixels[i % kDepth];
      const int64_t from = corner(i / kDepth);
      if (pixel >= 0 && from >= 0) cpAsync<4>(stage(index) + i, image_ + from + pixel);
    }
  }

  /// Of a stage whose copies have arrived: this thread's, to the dtype of computation.
  __device__ __forceinline__ void round(int index) {
    if constexpr (!std::is_same_v<T, float>)
      for (int i = threadIdx.x; i < kStageFloats; i += blockDim.x) stage(index)[i] = toFloat(fromFloat<T>(stage(index)[i]));
  }

  /// Of a stage, `kDepth` numbers each.
  __device__ __forceinline__ const float* rows(int index) const { return reinterpret_cast<const float*>(shared_.stages[index % 2]); }

 private:
  __device__ __forceinline__ float* stage(int index) { return reinterpret_cast<float*>(shared_.stages[index % 2]); }

  Shared& shared_;
  const float* image_;
};

/// N neighbouring columns from `column` on, zeros beyond the last; one access where `wide`.
template <int N>
__device__ __forceinline__ void readColumns(float (&to)[N], const float* from, int column, int width, bool wide) {
  if (wide) {
    load(to, from + column);
  } else {
#pragma unroll
    for (int c = 0; c < N; ++c) to[c] = column + c < width ? from[column + c] : 0.0f;
  }
}

template <int N>
__device__ __forceinline__ void writeColumns(float* to, const float (&from)[N], int column, int width, bool wide) {
  if (wide) {
    store(to + column, from);
  } else {
#pragma unroll
    for (int c = 0; c < N; ++c)
      if (column + c < width) to[column + c] = from[c];
  }
}

}  // namespace repa::cuda::patch_embed
