// Where a head lies in what attention's kernels are given.
#pragma once

#include "cuda/divisor.h"
#include "cuda/kernel.h"

namespace repa::cuda {

/// One head's rows in a packed tensor: row t begins at data + t * stride.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;

  __device__ __forceinline__ T* row(int64_t t) const { return data + t * stride; }
};

/// A head among the B H of a batch, sample by sample: fewer than 2^31, for each is a block of a grid.
struct Head {
  int index;
  int sample;
  int head;

  __device__ __forceinline__ Head(unsigned index, int heads)
      : index(static_cast<int>(index)), sample(static_cast<int>(index) / heads), head(static_cast<int>(index) % heads) {}
  __device__ __forceinline__ Head(int index, const Divisor& heads)
      : index(index), sample(heads.quotient(index)), head(index - sample * heads.value()) {}
};

enum QkvPart { kQuery, kKey, kValue };

/// The queries, keys or values of a head in qkv [B, T, 3, H, d].
template <class T>
__device__ __forceinline__ HeadRows<T> headOfQkv(T* qkv, const Head& at, QkvPart part, int tokens, int heads, int headDim) {
  const int64_t width = int64_t{heads} * headDim;
  return {qkv + (int64_t{at.sample} * tokens * 3 + part) * width + at.head * headDim, 3 * width};
}

/// A head in o or dO [B, T, H, d].
template <class T>
__device__ __forceinline__ HeadRows<T> headOfOutput(T* o, const Head& at, int tokens, int heads, int headDim) {
  const int64_t width = int64_t{heads} * headDim;
  return {o + int64_t{at.sample} * tokens * width + at.head * headDim, width};
}

}  // namespace repa::cuda
