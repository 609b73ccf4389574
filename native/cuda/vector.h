// Several neighbouring elements as one access of up to 16 bytes, computed with as floats.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// N elements of T, aligned as one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];
};

/// Elements of T in one access of 16 bytes.
template <class T>
inline constexpr int kVectorLength = 16 / sizeof(T);

/// Whether every pointer (null counts as one) may be read in accesses of 16 bytes. Tensors of their own and parameters are; a
/// slice or view need not be, and an access that is not aligned would take the GPU away from the process.
template <class... Pointers>
bool aligned16(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

/// N elements from `from`, which is aligned to their size.
template <int N, class T>
__device__ __forceinline__ void load(float (&to)[N], const T* from) {
  const Vector<T, N> vector = *reinterpret_cast<const Vector<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = toFloat(vector.values[i]);
}

template <int N, class T>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
  Vector<T, N> vector;
#pragma unroll
  for (int i = 0; i < N; ++i) vector.values[i] = fromFloat<T>(from[i]);
  *reinterpret_cast<Vector<T, N>*>(to) = vector;
}

}  // namespace repa::cuda
