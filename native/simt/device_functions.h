// CUDA's built-in device functions, the ones that the kernels use.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simt/barrier.h"
#include "simt/warp.h"

// __syncthreads() and __syncwarp() are functions, so that the place of the call is the argument's default.
inline void __syncthreads(repa::simt::Place place = repa::simt::Place::current()) { repa::simt::syncThreads(place); }
inline void __syncwarp(unsigned mask = 0xffffffffu, repa::simt::Place place = repa::simt::Place::current()) {
  repa::simt::syncWarp(mask, place);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::shuffle<repa::simt::Shuffle::index>(mask, value, lane, width, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::shuffle<repa::simt::Shuffle::butterfly>(mask, value, lanes, width, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::shuffle<repa::simt::Shuffle::up>(mask, value, static_cast<int>(lanes), width, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::shuffle<repa::simt::Shuffle::down>(mask, value, static_cast<int>(lanes), width, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::ballot(mask, predicate != 0, place);
}
inline int __any_sync(unsigned mask, int predicate, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::ballot(mask, predicate != 0, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, repa::simt::Place place = repa::simt::Place::current()) {
  return repa::simt::ballot(mask, predicate != 0, place) == mask;
}
inline unsigned __activemask() { return 1u << repa::simt::thread().lane; }
unsigned __reduce_add_sync(unsigned mask, unsigned value, repa::simt::Place place = repa::simt::Place::current());
unsigned __reduce_max_sync(unsigned mask, unsigned value, repa::simt::Place place = repa::simt::Place::current());

// A fence or an atomic is where other threads may come in between.
void __threadfence();
void __threadfence_block();
inline void __threadfence_system() { __threadfence(); }

int atomicAdd(int* address, int value);
unsigned atomicAdd(unsigned* address, unsigned value);
unsigned long long atomicAdd(unsigned long long* address, unsigned long long value);
int atomicMax(int* address, int value);
unsigned atomicMax(unsigned* address, unsigned value);
unsigned atomicInc(unsigned* address, unsigned limit);
unsigned atomicOr(unsigned* address, unsigned bits);
int atomicExch(int* address, int value);
unsigned atomicExch(unsigned* address, unsigned value);
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value);
int atomicCAS(int* address, int compare, int value);

template <class T>
T __ldg(const T* address) { return *address; }
template <class T>
T __ldcs(const T* address) { return *address; }
template <class T>
void __stcs(T* address, T value) { *address = value; }

// Approximate on the chip, here as exact as libm.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }
inline float __saturatef(float x) { return x > 1.0f ? 1.0f : x > 0.0f ? x : 0.0f; }

/// A chip's arithmetic gives one NaN, this one. What an operator gives is the host's.
inline float withCanonicalNan(float x) { return std::isnan(x) ? std::bit_cast<float>(0x7FFFFFFFu) : x; }
inline float __fsqrt_rn(float x) { return withCanonicalNan(std::sqrt(x)); }
inline float __fadd_rn(float x, float y) { return withCanonicalNan(x + y); }
inline float __fsub_rn(float x, float y) { return withCanonicalNan(x - y); }
inline float __fmul_rn(float x, float y) { return withCanonicalNan(x * y); }
inline float __fdiv_rn(float x, float y) { return withCanonicalNan(x / y); }
inline float __fmaf_rn(float x, float y, float z) { return withCanonicalNan(std::fma(x, y, z)); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
int __float2int_rn(float x);
int __float2int_rz(float x);
int __float2int_rd(float x);
unsigned __float2uint_rn(float x);
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }

inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }

inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(static_cast<unsigned>(x)) + 1 : 0; }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(static_cast<uint64_t>(x) * y >> 32); }
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<int64_t>(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
unsigned __byte_perm(unsigned x, unsigned y, unsigned selector);

// Overloads that CUDA declares in the global namespace.
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
using std::isfinite;
using std::isinf;
using std::isnan;
