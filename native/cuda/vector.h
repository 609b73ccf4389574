// Several neighbouring elements as one access of up to 16 bytes, computed with as floats.
#pragma once

#include "cuda/alignment.h"
#include "cuda/kernel.h"

namespace repa::cuda {

/// N elements of T, aligned as one access, which may be to memory that holds another type.
template <class T, int N>
struct [[gnu::may_alias]] alignas(sizeof(T) * N) Vector {
  T values[N];
};

/// Elements of T in one access of 16 bytes.
template <class T>
inline constexpr int kVectorLength = 16 / sizeof(T);

/// N elements from `from`, which is aligned to their size. Those of 16 bits are taken from the words that they are in: one by one they cost
/// up to three instructions each.
template <int N, class T>
__device__ __forceinline__ void load(float (&to)[N], const T* from) {
  if constexpr (sizeof(T) == 2 && N % 2 == 0) {
    const auto words = *reinterpret_cast<const Vector<uint32_t, N / 2>*>(from);
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const FloatPair pair = unpack2<T>(words.values[i]);
      to[2 * i] = pair.lo;
      to[2 * i + 1] = pair.hi;
    }
  } else {
    const auto vector = *reinterpret_cast<const Vector<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = toFloat(vector.values[i]);
  }
}

/// N elements, rounded, to `to` in global memory, which is aligned to their size. Not as a struct: of one nvcc 13.0 makes a store for each
/// member in some loops (test/native/stores.test.ts), and a warp then writes each sector four times.
template <int N, class T>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
  if constexpr (sizeof(T) * N < sizeof(uint32_t)) {
    static_assert(N == 1);
    *to = fromFloat<T>(from[0]);
  } else {
    constexpr int kInWord = sizeof(uint32_t) / sizeof(T);
    uint32_t words[N / kInWord];
#pragma unroll
    for (int i = 0; i < N / kInWord; ++i) {
      if constexpr (kInWord == 2) words[i] = pack2<T>(from[2 * i], from[2 * i + 1]);
      else words[i] = detail::floatBits(from[i]);
    }
    storeGlobal(to, words);
  }
}

/// The same to any memory, as the struct: for shared memory, and for the products' epilogues and the patch embedding's gradient, which the
/// other form makes spill registers.
template <int N, class T>
__device__ __forceinline__ void storeStruct(T* to, const float (&from)[N]) {
  Vector<T, N> vector;
#pragma unroll
  for (int i = 0; i < N; ++i) vector.values[i] = fromFloat<T>(from[i]);
  *reinterpret_cast<Vector<T, N>*>(to) = vector;
}

}  // namespace repa::cuda
