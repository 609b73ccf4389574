// The token sequence of a vision transformer: rows of D floats, copied from where they come and their positions added. Bound by
// memory: a block takes one token, a thread an access of 16 bytes at a time (one float where D or a pointer is not aligned).
#include "cuda/tokens.h"

#include <cmath>

#include "cuda/blocks.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 128;

/// out = token + position; position may be null.
template <int N>
__device__ __forceinline__ void writeToken(int64_t width, const float* token, const float* position, float* out) {
#pragma unroll 1  // two or three trips
  for (int64_t i = int64_t{threadIdx.x} * N; i < width; i += kThreads * N) {
    float values[N];
    load(values, token + i);
    if (position) {
      float added[N];
      load(added, position + i);
#pragma unroll
      for (int k = 0; k < N; ++k) values[k] += added[k];
    }
    store(out + i, values);
  }
}

/// As cpu/tokens.h, of which the null pointers are.
struct Sequence {
  unsigned tokens, classTokens, registers, patches;
  int64_t width;
  const float *patchTokens, *patchPositions, *classToken, *classPosition, *registerTokens;
};

template <int N>
__global__ void __launch_bounds__(kThreads) prependTokensKernel(const Sequence s, float* out) {
  const unsigned sample = blockIdx.x / s.tokens, token = blockIdx.x % s.tokens;
  const unsigned before = s.classTokens + s.registers;
  out += int64_t{blockIdx.x} * s.width;
  if (token < s.classTokens) return writeToken<N>(s.width, s.classToken, s.classPosition, out);
  if (token < before) return writeToken<N>(s.width, s.registerTokens + int64_t{token - s.classTokens} * s.width, nullptr, out);
  const int64_t patch = token - before;
  const float* position = s.patchPositions ? s.patchPositions + patch * s.width : nullptr;
  writeToken<N>(s.width, s.patchTokens + (int64_t{sample} * s.patches + patch) * s.width, position, out);
}

template <int N>
__global__ void __launch_bounds__(kThreads) dropTokensKernel(unsigned tokens, unsigned first, int64_t width, const float* x, float* out) {
  const unsigned kept = tokens - first, sample = blockIdx.x / kept, token = first + blockIdx.x % kept;
  writeToken<N>(width, x + (int64_t{sample} * tokens + token) * width, nullptr, out + int64_t{blockIdx.x} * width);
}

/// fill may be null.
template <int N>
__global__ void __launch_bounds__(kThreads) gatherTokensKernel(unsigned tokens, unsigned taken, int64_t width, const float* x,
                                                               const int32_t* ids, const float* fill, float* out) {
  const unsigned sample = blockIdx.x / taken;
  const int64_t id = ids[blockIdx.x];
  out += int64_t{blockIdx.x} * width;
  if (id >= 0 && id < tokens) return writeToken<N>(width, x + (int64_t{sample} * tokens + id) * width, nullptr, out);
  if (id == -1 && fill) return writeToken<N>(width, fill, nullptr, out);
  for (int64_t i = threadIdx.x; i < width; i += kThreads) out[i] = NAN;
}

/// A block takes one token of x, or the fill of one sample, and looks through the sample's ids, which are few, for its own.
template <int N>
__global__ void __launch_bounds__(kThreads) gatherTokensBackwardKernel(unsigned tokens, unsigned taken, int64_t width, const float* dOut,
                                                                       const int32_t* ids, float* dX, float* dFill) {
  const unsigned sums = tokens + (dFill ? 1 : 0), sample = blockIdx.x / sums, token = blockIdx.x % sums;
  const bool isFill = token == tokens;
  const int32_t own = isFill ? -1 : static_cast<int32_t>(token);
  float* sum = isFill ? dFill + int64_t{sample} * width : dX + (int64_t{sample} * tokens + token) * width;
  const int64_t first = int64_t{sample} * taken;
  for (int64_t i = int64_t{threadIdx.x} * N; i < width; i += kThreads * N) {
    float total[N] = {};
    for (int64_t row = first; row < first + taken; ++row) {
      if (ids[row] != own) continue;
      float values[N];
      load(values, dOut + row * width + i);
#pragma unroll
      for (int k = 0; k < N; ++k) total[k] += values[k];
    }
    store(sum + i, total);
  }
}

/// base or x may be null.
template <int N>
__global__ void __launch_bounds__(kThreads) mergeTokensKernel(unsigned tokens, int64_t merged, int64_t width, const float* base,
                                                              const float* x, const int32_t* places, float* out) {
  const int64_t row = blockIdx.x, place = places[row];
  out += row * width;
  const bool isMerged = place >= 0 && (!x || place < merged);
  if (isMerged && x) return writeToken<N>(width, x + (blockIdx.x / tokens * merged + place) * width, nullptr, out);
  if (place == -1 && base) return writeToken<N>(width, base + row * width, nullptr, out);
  const float value = isMerged || place == -1 ? 0.0f : NAN;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) out[i] = value;
}

LaunchShape blockPerToken(const Tensor& out) { return {.grid = dim3(blocksFor(out.size(0) * out.size(1), 1)), .block = dim3(kThreads)}; }

}  // namespace

void prependTokens(cudaStream_t stream, const Tensor& patches, const std::optional<Tensor>& patchPositions,
                   const std::optional<Tensor>& classToken, const std::optional<Tensor>& classPosition,
                   const std::optional<Tensor>& registers, const Tensor& out) {
  if (out.elements() == 0) return;
  const auto pointer = [](const std::optional<Tensor>& tensor) -> const float* { return tensor ? tensor->f32() : nullptr; };
  const Sequence s{.tokens = static_cast<unsigned>(out.size(1)), .classTokens = classToken ? 1u : 0u,
                   .registers = registers ? static_cast<unsigned>(registers->size(0)) : 0u,
                   .patches = static_cast<unsigned>(patches.size(1)), .width = out.size(2), .patchTokens = patches.f32(),
                   .patchPositions = pointer(patchPositions), .classToken = pointer(classToken), .classPosition = pointer(classPosition),
                   .registerTokens = pointer(registers)};
  const bool vectors = s.width % 4 == 0 &&
                       aligned16(s.patchTokens, s.patchPositions, s.classToken, s.classPosition, s.registerTokens, out.f32());
  launch(stream, vectors ? prependTokensKernel<4> : prependTokensKernel<1>, blockPerToken(out), s, out.f32());
}

void dropTokens(cudaStream_t stream, const Tensor& x, int64_t first, const Tensor& out) {
  if (out.elements() == 0) return;
  const int64_t width = x.size(2);
  const bool vectors = width % 4 == 0 && aligned16(x.f32(), out.f32());
  launch(stream, vectors ? dropTokensKernel<4> : dropTokensKernel<1>, blockPerToken(out), static_cast<unsigned>(x.size(1)),
         static_cast<unsigned>(first), width, x.f32(), out.f32());
}

void gatherTokens(cudaStream_t stream, const Tensor& x, const Tensor& ids, const Tensor* fill, const Tensor& out) {
  if (out.elements() == 0) return;
  const int64_t width = x.size(2);
  const float* filled = fill ? fill->f32() : nullptr;
  const bool vectors = width % 4 == 0 && aligned16(x.f32(), filled, out.f32());
  launch(stream, vectors ? gatherTokensKernel<4> : gatherTokensKernel<1>, blockPerToken(out), static_cast<unsigned>(x.size(1)),
         static_cast<unsigned>(out.size(1)), width, x.f32(), ids.i32(), filled, out.f32());
}

void gatherTokensBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& ids, const Tensor& dX, const Tensor* dFill) {
  const int64_t width = dX.size(2), sums = dX.size(0) * (dX.size(1) + (dFill ? 1 : 0));
  if (sums * width == 0) return;
  float* filled = dFill ? dFill->f32() : nullptr;
  const bool vectors = width % 4 == 0 && aligned16(dOut.f32(), dX.f32(), filled);
  const LaunchShape shape = {.grid = dim3(blocksFor(sums, 1)), .block = dim3(kThreads)};
  launch(stream, vectors ? gatherTokensBackwardKernel<4> : gatherTokensBackwardKernel<1>, shape, static_cast<unsigned>(dX.size(1)),
         static_cast<unsigned>(dOut.size(1)), width, dOut.f32(), ids.i32(), dX.f32(), filled);
}

void mergeTokens(cudaStream_t stream, const Tensor* base, const Tensor* x, const Tensor& places, const Tensor& out) {
  if (out.elements() == 0) return;
  const int64_t width = out.size(2), merged = x ? x->size(1) : 0;
  const float *basis = base ? base->f32() : nullptr, *from = x ? x->f32() : nullptr;
  const bool vectors = width % 4 == 0 && aligned16(basis, from, out.f32());
  launch(stream, vectors ? mergeTokensKernel<4> : mergeTokensKernel<1>, blockPerToken(out), static_cast<unsigned>(out.size(1)), merged,
         width, basis, from, places.i32(), out.f32());
}

}  // namespace repa::cuda
