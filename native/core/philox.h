// Philox-4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a bijection of a
// 128-bit counter under a 64-bit key. Any number of a sequence is had at once and nothing is kept between calls.
//
// Where an element's bits come from. Element i of (seed, stream, step) is word i mod 4 of the block
//     key     = { seed[0..31], seed[32..63] }
//     counter = { block[0..31], step[0..31], stream, step[32..47] | block[32..47] << 16 },   block = i div 4.
// Two (seed, stream, step, i) never share a block word as long as step < 2^48 and i < 2^50.
// A uniform number uses its own word; normal numbers 4b .. 4b+3 are Box-Muller of words (0, 1) and of words (2, 3).
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace repa {

/// Which sequence: the run's seed, what the numbers are for, and the training step (or any other 48-bit index).
struct RandomPosition {
  uint64_t seed;
  uint32_t stream;
  uint64_t step;
};

struct PhiloxBlock {
  uint32_t word[4];
};

// The functions are static so that a file compiled for one CPU level never lends its copy to another.

/// Ten rounds.
REPA_HOST_DEVICE static constexpr PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;  // the golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return counter;
}

// The generator's published known answer for pi's digits (Random123, kat_vectors).
static_assert(philox4x32({{0x243F6A88u, 0x85A308D3u, 0x13198A2Eu, 0x03707344u}}, 0xA4093822u, 0x299F31D0u).word[3] ==
              0x24126EA1u);

/// The block of elements 4 * block .. 4 * block + 3.
REPA_HOST_DEVICE static constexpr PhiloxBlock randomBlock(const RandomPosition& position, uint64_t block) {
  const PhiloxBlock counter = {{static_cast<uint32_t>(block), static_cast<uint32_t>(position.step), position.stream,
                                (static_cast<uint32_t>(position.step >> 32) & 0xFFFFu) |
                                    (static_cast<uint32_t>(block >> 32) << 16)}};
  return philox4x32(counter, static_cast<uint32_t>(position.seed), static_cast<uint32_t>(position.seed >> 32));
}

/// U[0, 1) from a word's upper 24 bits: every value is a multiple of 2^-24 and exact.
REPA_HOST_DEVICE static constexpr float uniformFromBits(uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

/// Uniform numbers 4 * block .. 4 * block + 3 of a position.
REPA_HOST_DEVICE static constexpr void uniformNumbers(const RandomPosition& position, uint64_t block, float* number) {
  const PhiloxBlock bits = randomBlock(position, block);
  for (int k = 0; k < 4; ++k) number[k] = uniformFromBits(bits.word[k]);
}

/// Uniform number `element`, alone.
REPA_HOST_DEVICE static constexpr float uniformNumber(const RandomPosition& position, int64_t element) {
  return uniformFromBits(randomBlock(position, static_cast<uint64_t>(element / 4)).word[element % 4]);
}

/// floor(u · count) of a uniform number u, exact: one of 0 .. count - 1, count at most 2^24.
REPA_HOST_DEVICE static constexpr int32_t integerBelow(float uniform, int64_t count) {
  return static_cast<int32_t>((static_cast<int64_t>(uniform * 16777216.0f) * count) >> 24);
}

/// How many numbers tokens are told apart by, where some of them are drawn.
constexpr int32_t kTokenNumbers = 1 << 24;

}  // namespace repa
