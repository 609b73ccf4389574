// Ranges of an arena, as calls list them.
#pragma once

#include <string>
#include <vector>

#include "core/arena_range.h"
#include "ops/require.h"

namespace repa::ops {

/// Of pairs of begin and end, which ascend in an arena of `count` elements. `name` says of what, for an error's sentence.
inline std::vector<ArenaRange> arenaRanges(const char* op, const std::string& name, const std::vector<double>& pairs, int64_t count) {
  const auto isWhole = [](double value, int64_t most) {
    return value >= 0 && value <= static_cast<double>(most) && value == static_cast<double>(static_cast<int64_t>(value));
  };
  std::vector<ArenaRange> ranges;
  require(pairs.size() % 2 == 0, op, name + " must list pairs of begin and end.");
  int64_t previous = 0;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    require(isWhole(pairs[i], count) && isWhole(pairs[i + 1], count) && pairs[i] >= static_cast<double>(previous) && pairs[i + 1] >= pairs[i], op,
            "the " + name + " ranges must be of whole numbers, ascend and lie inside the arena.");
    const ArenaRange range{static_cast<int64_t>(pairs[i]), static_cast<int64_t>(pairs[i + 1])};
    previous = range.end;
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace repa::ops
