// Loops over arrays whose length no vector need divide, with the body written once:
//
//   forEachVector(count, [&](int64_t i, auto lanes, int slot) { store(out + i, 2.0f * load(x + i, lanes), lanes); });
//
// `lanes` is WholeVector for all but the end of the array and PartialVector there, where loads give zeros behind the
// end and stores stop at it. `slot` runs through 0..kSlots-1: a sum that keeps one accumulator per slot hides the
// adder's latency and rounds less.
#pragma once

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {

struct WholeVector {};

struct PartialVector {
  int count;
};

static inline Vec load(const float* from, WholeVector) { return load(from); }
static inline Vec load(const float* from, PartialVector lanes) { return loadPartial(from, lanes.count); }
static inline void store(float* to, Vec v, WholeVector) { store(to, v); }
static inline void store(float* to, Vec v, PartialVector lanes) { storePartial(to, v, lanes.count); }

/// v with zeros behind its first `lanes`.
static inline Vec keep(Vec v, WholeVector) { return v; }
static inline Vec keep(Vec v, PartialVector lanes) {
  Vec kept = {};
  std::memcpy(&kept, &v, sizeof(float) * static_cast<size_t>(lanes.count));
  return kept;
}

constexpr int kSlots = 4;

template <class Body>
static inline void forEachVector(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kSlots * kLanes <= count; i += kSlots * kLanes) {
#pragma GCC unroll 4
    for (int slot = 0; slot < kSlots; ++slot) body(i + slot * kLanes, WholeVector{}, slot);
  }
  for (; i + kLanes <= count; i += kLanes) body(i, WholeVector{}, 0);
  if (i < count) body(i, PartialVector{static_cast<int>(count - i)}, 1);
}

/// The sum of one accumulator per slot.
static inline float sumSlots(const Vec (&slots)[kSlots]) {
  return sumLanes((slots[0] + slots[1]) + (slots[2] + slots[3]));
}

}  // namespace repa::cpu::REPA_LEVEL
