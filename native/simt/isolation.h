// Blocks of a launch that do not see each other's writes.
//
// The shim runs clusters one after another, so that a block finds in global memory what those before it wrote: two blocks that add to one
// element, or one that reads what another of the same launch writes, give the right answer here and on a chip, where they run at the same
// time, do not. In an isolated launch each cluster starts from the memory that the launch began with, and what they wrote is put together
// at the end. Bytes that two clusters wrote differently fail the launch. An atomic operation, by which blocks may come to an order of their
// own, ends the isolation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "simt/device.h"
#include "simt/random.h"

namespace repa::simt {

class Isolation {
 public:
  /// Isolates a launch of so many clusters, or not where that would cost too much: looking at all of the device's memory after each. Small
  /// launches on little memory always are, larger ones as seldom as makes the cost of both alike.
  void begin(uint64_t clusters, Random& random);
  /// "" or a sentence about what this cluster wrote that another one wrote differently.
  std::string endCluster();
  /// Puts together what the clusters wrote, that one included which is running; also after a launch that failed.
  void end();

 private:
  struct Piece {
    unsigned char* address;
    size_t bytes;
    std::vector<unsigned char> before, after;
    std::vector<bool> written;
    std::vector<size_t> changed;  // where steps begin in which something was written
  };

  std::optional<DeviceMemoryTurn> turn_;  // nobody copies to the device's memory meanwhile
  std::vector<Piece> pieces_;
};

}  // namespace repa::simt
