#include "simt/isolation.h"

#include <cstring>

#include "simt/sanitizer.h"

namespace repa::simt {

namespace {

/// What is compared for every launch, and the most for any: about 0.2 ms, and 30.
constexpr uint64_t kAlways = uint64_t{1} << 20, kMost = kAlways << 7;

/// Bytes that are compared at once, and looked at one by one where they differ.
constexpr size_t kStep = 256;

/// How many bytes the step that begins there has, of an allocation of so many.
size_t lengthOfStep(size_t first, size_t bytes) { return bytes - first < kStep ? bytes - first : kStep; }

}  // namespace

void Isolation::begin(uint64_t clusters, Random& random) {
  pieces_.clear();
  if (clusters < 2) return;
  turn_.emplace();
  const auto allocations = deviceAllocations();
  uint64_t bytes = 0;
  for (const auto& [address, size] : allocations) bytes += size;
  const uint64_t cost = bytes * clusters;
  if (cost > kMost || (cost > kAlways && random.next() % (cost / kAlways) != 0)) {
    turn_.reset();
    return;
  }
  for (const auto& [address, size] : allocations) {
    Piece& piece = pieces_.emplace_back(Piece{address, size, {}, {}, {}, {}});
    piece.before.assign(address, address + size);
    piece.after = piece.before;
    piece.written.assign(size, false);
  }
}

std::string Isolation::endCluster() {
  Quiet quiet;
  std::string sentence;
  for (Piece& piece : pieces_)
    for (size_t first = 0; first < piece.bytes; first += kStep) {
      const size_t count = lengthOfStep(first, piece.bytes);
      if (std::memcmp(piece.address + first, piece.before.data() + first, count) == 0) continue;
      for (size_t i = first; i < first + count; ++i) {
        if (piece.address[i] == piece.before[i]) continue;
        if (piece.written[i] && piece.after[i] != piece.address[i] && sentence.empty())
          sentence = "two blocks wrote byte " + std::to_string(i) + " of an allocation of " + std::to_string(piece.bytes) +
                     " bytes of device memory differently: nothing orders the blocks of a launch.";
        piece.written[i] = true;
        piece.after[i] = piece.address[i];
      }
      std::memcpy(piece.address + first, piece.before.data() + first, count);
      piece.changed.push_back(first);
    }
  return sentence;
}

void Isolation::end() {
  if (!turn_) return;
  Quiet quiet;
  for (const Piece& piece : pieces_)
    for (const size_t first : piece.changed)
      for (size_t i = first; i < first + lengthOfStep(first, piece.bytes); ++i)
        if (piece.written[i] && piece.address[i] == piece.before[i]) piece.address[i] = piece.after[i];
  pieces_.clear();
  turn_.reset();
}

}  // namespace repa::simt
