// Four neighbouring elements that nobody writes while the kernel runs. Through the read-only path (ld.global.nc, PTX ISA 9.7.9.9): a
// plain load behind a store has to stay behind it, as the two might be one address; these may all be issued first.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda {

/// As they lie in memory: 16-bit elements take half of the registers until they are computed with.
template <class T>
struct Four {
  uint2 bits;
};

template <>
struct Four<float> {
  float4 values;
};

/// `from` is aligned to 16 bytes, or to 8 for 16-bit elements.
template <class T>
__device__ __forceinline__ Four<T> fourReadOnly(const T* from) {
  if constexpr (sizeof(T) == 4) return {__ldg(reinterpret_cast<const float4*>(from))};
  else return {__ldg(reinterpret_cast<const uint2*>(from))};
}

template <class T>
__device__ __forceinline__ void unpack(float (&to)[4], const Four<T>& four) {
  if constexpr (sizeof(T) == 4) {
    to[0] = four.values.x, to[1] = four.values.y, to[2] = four.values.z, to[3] = four.values.w;
  } else {
    const FloatPair low = unpack2<T>(four.bits.x), high = unpack2<T>(four.bits.y);
    to[0] = low.lo, to[1] = low.hi, to[2] = high.lo, to[3] = high.hi;
  }
}

template <class T>
__device__ __forceinline__ void loadReadOnly(float (&to)[4], const T* from) {
  unpack(to, fourReadOnly(from));
}

}  // namespace repa::cuda
