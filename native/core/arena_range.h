// A part of a flat arena of parameters.
#pragma once

#include <cstdint>

namespace repa {

/// Elements [begin, end).
struct ArenaRange {
  int64_t begin, end;
};

}  // namespace repa
