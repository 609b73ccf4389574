// What happens to finished sums on their way to C (gemm.h has the formulas), for a thread that holds N neighbouring columns of some
// rows: 8 columns of a 16-bit C, or 4 of an f32 one, are one access of 16 bytes. The kind is a run-time switch: all threads of a launch
// take the same way.
#pragma once

#include "cuda/activation_math.h"
#include "cuda/gemm_problem.h"
#include "cuda/kernel.h"
#include "cuda/vector.h"

namespace repa::cuda {

/// What a kernel's products may be followed by. The rest is not in its code, of which all kinds would be the greater part.
enum class Epilogues : uint8_t { ofForward, ofConvolution, ofInputGradient, ofWeightGradient, all };

template <GemmLayout layout>
inline constexpr Epilogues kEpiloguesOf = layout == GemmLayout::forward         ? Epilogues::ofForward
                                          : layout == GemmLayout::inputGradient ? Epilogues::ofInputGradient
                                                                                : Epilogues::ofWeightGradient;

/// T: the operands' dtype.
template <class T, int N, Epilogues made>
class Epilogue {
  static constexpr bool kForward = made == Epilogues::ofForward || made == Epilogues::all;
  static constexpr bool kConvolution = made == Epilogues::ofConvolution || made == Epilogues::all;
  static constexpr bool kInputGradient = made == Epilogues::ofInputGradient || made == Epilogues::all;
  static constexpr bool kWeightGradient = made == Epilogues::ofWeightGradient || made == Epilogues::all;
  static constexpr bool kBias = kForward || kConvolution;

 public:
  /// `column`: the first of the thread's, a multiple of N; it may lie beyond the last.
  __device__ __forceinline__ Epilogue(const GemmArgs& args, bool wide, int column)
      : args_(args), column_(column), count_(min(N, static_cast<int>(args.n) - column)), wide_(wide && count_ == N) {
#pragma unroll
    for (int i = 0; i < N; ++i) bias_[i] = sums_[i] = 0.0f;
    if (kBias && args.epilogue.bias) read(bias_, args.epilogue.bias + column);
  }

  /// Reads what `finish` needs of a row beside the sums. Apart, so that several rows' accesses are under way at once.
  __device__ __forceinline__ void fetch(int row, float (&beside)[N]) const {
    const GemmEpilogue& e = args_.epilogue;
#pragma unroll
    for (int i = 0; i < N; ++i) beside[i] = 0.0f;
    switch (e.kind) {
      case GemmEpilogueKind::none:
        if (kWeightGradient && args_.accumulate) read(beside, static_cast<const float*>(args_.c) + at(row, args_.ldc));
        break;
      case GemmEpilogueKind::biasGatedResidual:
        if constexpr (kForward) read(beside, e.residual + at(row, e.residualStride));
        break;
      case GemmEpilogueKind::biasAddend:
      case GemmEpilogueKind::biasAddendRelu:
        if constexpr (kBias) read(beside, e.addend + at(row % static_cast<int>(e.addendRows), e.addendStride));
        break;
      case GemmEpilogueKind::siluBackward:
      case GemmEpilogueKind::geluTanhBackward:
      case GemmEpilogueKind::geluErfBackward:
      case GemmEpilogueKind::quickGeluBackward:
        if constexpr (kInputGradient) read(beside, static_cast<const T*>(e.aux) + at(row, e.auxStride));
        break;
      default: break;
    }
  }

  /// From the row's sums to C.
  __device__ __forceinline__ void finish(int row, float (&v)[N], const float (&beside)[N]) {
    if (args_.epilogue.kind == GemmEpilogueKind::none) each(v, [&](int i, float x) { return x + beside[i]; });
    if constexpr (kInputGradient) finishInputGradient(v, beside);
    if constexpr (kBias) finishBias(row, v, beside);
    if constexpr (kForward) finishForward(row, v, beside);
    if constexpr (kConvolution) finishConvolution(v, beside);
    if constexpr (kInputGradient) {
#pragma unroll
      for (int i = 0; i < N; ++i) sums_[i] += v[i];
    }
    if (args_.cDType == DType::f32) write(static_cast<float*>(args_.c) + at(row, args_.ldc), v);
    else write(static_cast<T*>(args_.c) + at(row, args_.ldc), v);
  }

  /// The thread's columns of a row, of which `from` is the first; zeros beyond the last of the row.
  template <class U>
  __device__ __forceinline__ void read(float (&to)[N], const U* from) const {
    if (wide_) {
#pragma unroll
      for (int first = 0; first < N; first += kPiece<U>) {
        float piece[kPiece<U>];
        load(piece, from + first);
#pragma unroll
        for (int i = 0; i < kPiece<U>; ++i) to[first + i] = piece[i];
      }
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) to[i] = i < count_ ? toFloat(from[i]) : 0.0f;
    }
  }

  /// Of what `finish` has written, by column: of input gradients alone.
  __device__ __forceinline__ const float (&sums() const)[N] { return sums_; }

 private:
  __device__ __forceinline__ int64_t at(int row, int64_t stride) const { return row * stride + column_; }

  template <class Function>
  __device__ __forceinline__ static void each(float (&v)[N], Function function) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = function(i, v[i]);
  }

  // Each for the kinds that only it has: of others v stays what it is.

  __device__ __forceinline__ void finishInputGradient(float (&v)[N], const float (&beside)[N]) const {
    switch (args_.epilogue.kind) {
      case GemmEpilogueKind::siluBackward: each(v, [&](int i, float x) { return x * siluSlope<T>(beside[i]); }); break;
      case GemmEpilogueKind::geluTanhBackward: each(v, [&](int i, float x) { return x * geluTanhSlope<T>(beside[i]); }); break;
      case GemmEpilogueKind::geluErfBackward: each(v, [&](int i, float x) { return x * geluErfSlope<T>(beside[i]); }); break;
      case GemmEpilogueKind::quickGeluBackward: each(v, [&](int i, float x) { return x * quickGeluSlope<T>(beside[i]); }); break;
      default: break;
    }
  }

  /// What a linear layer and a convolution both have.
  __device__ __forceinline__ void finishBias(int row, float (&v)[N], const float (&beside)[N]) const {
    switch (args_.epilogue.kind) {
      case GemmEpilogueKind::bias: each(v, [&](int i, float x) { return x + bias_[i]; }); break;
      case GemmEpilogueKind::biasAddend: each(v, [&](int i, float x) { return x + bias_[i] + beside[i]; }); break;
      case GemmEpilogueKind::biasSilu:
        preActivation(row, v);
        each(v, [](int, float x) { return silu<T>(x); });
        break;
      default: break;
    }
  }

  __device__ __forceinline__ void finishForward(int row, float (&v)[N], const float (&beside)[N]) const {
    const GemmEpilogue& e = args_.epilogue;
    switch (e.kind) {
      case GemmEpilogueKind::biasGeluTanh:
        preActivation(row, v);
        each(v, [](int, float x) { return geluTanh<T>(x); });
        break;
      case GemmEpilogueKind::biasGeluErf:
        preActivation(row, v);
        each(v, [](int, float x) { return geluErf<T>(x); });
        break;
      case GemmEpilogueKind::biasQuickGelu:
        preActivation(row, v);
        each(v, [](int, float x) { return quickGelu<T>(x); });
        break;
      case GemmEpilogueKind::biasGatedResidual: {
        addBias(row, v);
        float gate[N];
        read(gate, e.gate + at(row / static_cast<int>(e.rowsPerGate), e.gateStride));
        each(v, [&](int i, float x) { return beside[i] + gate[i] * x; });
        break;
      }
      default: break;
    }
  }

  __device__ __forceinline__ void finishConvolution(float (&v)[N], const float (&beside)[N]) const {
    const GemmEpilogueKind kind = args_.epilogue.kind;
    if (kind != GemmEpilogueKind::biasRelu && kind != GemmEpilogueKind::biasAddendRelu) return;
    each(v, [&](int i, float x) {
      const float sum = x + bias_[i] + beside[i];
      return sum < 0.0f ? 0.0f : sum;  // a NaN stays one, as in torch
    });
  }

  /// v becomes the layer's result, which is kept where a backward pass will ask for it.
  __device__ __forceinline__ void addBias(int row, float (&v)[N]) const {
    each(v, [&](int i, float x) { return x + bias_[i]; });
    if (args_.epilogue.aux) write(static_cast<T*>(args_.epilogue.aux) + at(row, args_.epilogue.auxStride), v);
  }

  /// As addBias, and v is what was kept: an activation of that tensor (activation.cu) makes this layer's result again, bit for bit. It is
  /// rounded where nothing is kept too, so that a model computes the same with a backward pass as without.
  __device__ __forceinline__ void preActivation(int row, float (&v)[N]) const {
    addBias(row, v);
    each(v, [](int, float x) { return toFloat(fromFloat<T>(x)); });
  }

  template <class U>
  static constexpr int kPiece = N < kVectorLength<U> ? N : kVectorLength<U>;

  template <class U>
  __device__ __forceinline__ void write(U* to, const float (&v)[N]) const {
    if (wide_) {
#pragma unroll
      for (int first = 0; first < N; first += kPiece<U>) {
        float piece[kPiece<U>];
#pragma unroll
        for (int i = 0; i < kPiece<U>; ++i) piece[i] = v[first + i];
        storeStruct(to + first, piece);
      }
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i)
        if (i < count_) to[i] = fromFloat<U>(v[i]);
    }
  }

  const GemmArgs& args_;
  int column_, count_;
  bool wide_;
  float bias_[N], sums_[N];
};

/// Finishes a slab of kRows x kColumns sums that a warp has laid down in shared memory, the number at (row, column) at
/// slab[index(row, column)]. Its lanes take N columns each of one or more rows at once, and kAtOnce times that have their other operands
/// under way together.
template <int kRows, int kColumns, int kAtOnce, class T, int N, Epilogues made, class Index>
__device__ __forceinline__ void finishSlab(Epilogue<T, N, made>& epilogue, const float* slab, Index index, int firstRow, int m) {
  constexpr int kLanes = kColumns / N, kAccessRows = 32 / kLanes;
  const int lane = threadIdx.x % 32, column = lane % kLanes * N;
  int row = lane / kLanes;
#pragma unroll 1
  for (int step = 0; step < kRows / (kAccessRows * kAtOnce); ++step) {
    float beside[kAtOnce][N];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      if (firstRow + row + kAccessRows * i < m) epilogue.fetch(firstRow + row + kAccessRows * i, beside[i]);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      float v[N];
#pragma unroll
      for (int j = 0; j < N; j += 4) {
        const Vector<float, 4> piece = *reinterpret_cast<const Vector<float, 4>*>(slab + index(row + kAccessRows * i, column + j));
#pragma unroll
        for (int l = 0; l < 4; ++l) v[j + l] = piece.values[l];
      }
      if (firstRow + row + kAccessRows * i < m) epilogue.finish(firstRow + row + kAccessRows * i, v, beside[i]);
    }
    row += kAccessRows * kAtOnce;
  }
}

/// Where the number at (row, column) of a slab 64 wide lies that is written from the fragments of mma: its rows' groups of 4 columns change
/// places, so that the pairs that 16 lanes write and the fours that 8 lanes of a row read (neighbours, or every other one) fall into
/// different banks.
__device__ __forceinline__ int fragmentSlabIndex(int row, int column) {
  const int four = column / 4;
  return row * 64 + (four ^ four / 8 ^ row % 4 * 2) * 4 + column % 4;
}

/// A warp's sums of 16 rows x 64 columns, eight columns after eight as mma leaves them, into a slab from `firstRow` on.
template <class Sum>
__device__ __forceinline__ void layFragmentsDown(float* slab, int firstRow, Sum sum) {
  const int row = firstRow + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    *reinterpret_cast<Vector<float, 2>*>(slab + fragmentSlabIndex(row, 8 * j + column)) = {sum(j, 0), sum(j, 1)};
    *reinterpret_cast<Vector<float, 2>*>(slab + fragmentSlabIndex(row + 8, 8 * j + column)) = {sum(j, 2), sum(j, 3)};
  }
}

/// Sums the columns over a tile: `sums` of the lanes that hold the same columns, then of the warps one above the other, always in the
/// same order. `shared` has a float for each of the tile's columns in each of kWarpRows rows of warps, and is nobody else's; `column` is
/// the thread's first within the tile, warpRow its warp's row.
template <int kWarpRows, int N>
__device__ __forceinline__ void storeColumnSums(const float (&sums)[N], float* shared, int column, int warpRow, float* out, int firstColumn, int n) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float sum = sums[i];
    sum += __shfl_xor_sync(kAll, sum, 8);
    sum += __shfl_xor_sync(kAll, sum, 16);
    if (threadIdx.x % 32 < 8) shared[warpRow * kTileColumns + column + i] = sum;
  }
  __syncthreads();
  const int own = threadIdx.x;
  if (own < kTileColumns && firstColumn + own < n) {
    float sum = 0.0f;
#pragma unroll
    for (int row = 0; row < kWarpRows; ++row) sum += shared[row * kTileColumns + own];
    out[own] = sum;
  }
}

}  // namespace repa::cuda
