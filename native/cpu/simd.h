// Vec: as many floats as the level's registers hold (16 with AVX-512, 8 with AVX2, 4 otherwise: SSE2 or NEON), by the
// compiler's vector extensions: +, -, *, /, comparisons and ?: work lane by lane and a*b+c becomes one FMA
// (-ffp-contract=fast). Only for files that are compiled once per level.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef REPA_LEVEL
#error "simd.h is for the files that CMakeLists.txt compiles once per CPU level"
#endif

namespace repa::cpu::REPA_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

/// Floats in a Vec.
constexpr int kLanes = kVectorBytes / 4;

typedef float Vec __attribute__((vector_size(kVectorBytes)));
typedef int32_t IntVec __attribute__((vector_size(kVectorBytes)));
typedef uint32_t UintVec __attribute__((vector_size(kVectorBytes)));

// x - 0 is x to the last bit, -0 included, so the subtraction costs nothing; 0 + x would be computed.
static inline Vec splat(float value) { return value - Vec{}; }

static inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

static inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

#if defined(__AVX2__) && !defined(__AVX512F__)
static inline __m256i firstLanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/// The first `count` lanes (0 to kLanes) from memory, zeros behind them; reads nothing past from[count - 1].
static inline Vec loadPartial(const float* from, int count) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#elif defined(__AVX2__)
  return (Vec)_mm256_maskload_ps(from, firstLanes(count));
#else
  Vec v = {};
  std::memcpy(&v, from, sizeof(float) * static_cast<size_t>(count));
  return v;
#endif
}

/// Writes the first `count` lanes.
static inline void storePartial(float* to, Vec v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(to, firstLanes(count), (__m256)v);
#else
  std::memcpy(to, &v, sizeof(float) * static_cast<size_t>(count));
#endif
}

static inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec minimum(Vec a, Vec b) { return a < b ? a : b; }

/// The named lanes of a and b, those of b numbered on from those of a.
template <int... lane, typename V>
static inline V shuffle(V a, V b) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, lane...);
#else
  typedef int Lanes __attribute__((vector_size(sizeof(V))));
  return __builtin_shuffle(a, b, Lanes{lane...});
#endif
}

/// Lane i gets lane i + distance (modulo kLanes).
template <int distance, int... lane>
static inline Vec rotateLanes(Vec v, std::integer_sequence<int, lane...>) {
  return shuffle<((lane + distance) % kLanes)...>(v, v);
}
template <int distance>
static inline Vec rotateLanes(Vec v) {
  return rotateLanes<distance>(v, std::make_integer_sequence<int, kLanes>());
}

/// Sum over the lanes, halving: the same order at every call.
static inline float sumLanes(Vec v) {
  if constexpr (kLanes > 8) v += rotateLanes<8>(v);
  if constexpr (kLanes > 4) v += rotateLanes<4>(v);
  v += rotateLanes<2>(v);
  v += rotateLanes<1>(v);
  return v[0];
}

static inline float maxLanes(Vec v) {
  if constexpr (kLanes > 8) v = maximum(v, rotateLanes<8>(v));
  if constexpr (kLanes > 4) v = maximum(v, rotateLanes<4>(v));
  v = maximum(v, rotateLanes<2>(v));
  v = maximum(v, rotateLanes<1>(v));
  return v[0];
}

// A cast between vector types of one size keeps the bits; a cast of references would break the aliasing rules.
static inline IntVec asInt(Vec v) { return (IntVec)v; }
static inline Vec asFloat(IntVec v) { return (Vec)v; }
static inline Vec toFloat(IntVec v) { return __builtin_convertvector(v, Vec); }
/// Towards zero.
static inline IntVec toInt(Vec v) { return __builtin_convertvector(v, IntVec); }

}  // namespace repa::cpu::REPA_LEVEL
