// Vec: as many floats as the level's registers hold (16 with AVX-512, 8 with AVX2, 4 otherwise: SSE2 or NEON), by the
// compiler's vector extensions: +, -, *, /, comparisons and ?: work lane by lane and a*b+c becomes one FMA
// (-ffp-contract=fast). Only for files that are compiled once per level.
#pragma once

#include <cstdint>
#include <cstring>

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

static inline Vec splat(float value) { return Vec{} + value; }

static inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

static inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

/// The first `count` lanes from memory, zeros behind them; reads nothing past from[count - 1].
static inline Vec loadPartial(const float* from, int count) {
  Vec v = {};
  std::memcpy(&v, from, sizeof(float) * static_cast<size_t>(count));
  return v;
}

/// Writes the first `count` lanes.
static inline void storePartial(float* to, Vec v, int count) {
  std::memcpy(to, &v, sizeof(float) * static_cast<size_t>(count));
}

static inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec minimum(Vec a, Vec b) { return a < b ? a : b; }

/// Sum over the lanes, halving: the same order at every call.
static inline float sumLanes(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

static inline float maxLanes(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  return lanes[0];
}

// A cast between vector types of one size keeps the bits.
static inline IntVec asInt(Vec v) { return (IntVec)v; }
static inline Vec asFloat(IntVec v) { return (Vec)v; }
static inline Vec toFloat(IntVec v) { return __builtin_convertvector(v, Vec); }
/// Towards zero.
static inline IntVec toInt(Vec v) { return __builtin_convertvector(v, IntVec); }

}  // namespace repa::cpu::REPA_LEVEL
