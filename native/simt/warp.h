// Warp collectives that move plain values between lanes: shuffles, votes.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simt/place.h"

namespace repa::simt {

enum class Shuffle { index, butterfly, up, down };

void syncWarp(uint32_t mask, const Place& place);
uint32_t ballot(uint32_t mask, bool predicate, const Place& place);

struct ShuffleOperands {
  uint64_t value;
  int argument;
  int width;
  uint64_t result;
};
template <Shuffle kind>
void shuffleBits(uint32_t mask, ShuffleOperands& operands, const Place& place);

template <Shuffle kind, class T>
T shuffle(uint32_t mask, T value, int argument, int width, const Place& place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  ShuffleOperands operands = {0, argument, width, 0};
  std::memcpy(&operands.value, &value, sizeof(T));
  shuffleBits<kind>(mask, operands, place);
  T result;
  std::memcpy(&result, &operands.result, sizeof(T));
  return result;
}

/// elect.sync (PTX ISA 9.7.13.14): true in one lane of the mask. The manual leaves open which; here any, by the schedule's seed.
bool electLane(uint32_t mask, const Place& place);

}  // namespace repa::simt
