// How a chip serves a warp's request.
#include <algorithm>
#include <bit>

#include "simt/traffic/traffic.h"

namespace repa::simt {

namespace {

constexpr uintptr_t bankBytes = 4, banks = 32, sectorBytes = 32;

/// The distinct units of `unitBytes` that the lanes from `first` on touch.
size_t touched(const Request& request, int first, int lanes, uintptr_t unitBytes, uintptr_t (&units)[warpLanes * 16]) {
  size_t count = 0;
  for (int lane = first; lane < first + lanes; ++lane) {
    if (!(request.lanes >> lane & 1)) continue;
    const uintptr_t address = request.addresses[lane];
    for (uintptr_t unit = address / unitBytes; unit <= (address + request.bytes - 1) / unitBytes; ++unit) units[count++] = unit;
  }
  std::sort(units, units + count);
  return std::unique(units, units + count) - units;
}

}  // namespace

/// Lanes that ask for 8 bytes are served by halves of a warp, for 16 by quarters. Within such a part a word is read once for all that want
/// it, and each bank gives one word in a pass.
Units passesOf(const Request& request) {
  const int parts = request.bytes > 8 ? 4 : request.bytes > 4 ? 2 : 1;
  Units total = {0, 0};
  for (int part = 0; part < parts; ++part) {
    uintptr_t words[warpLanes * 16];
    const size_t count = touched(request, warpLanes / parts * part, warpLanes / parts, bankBytes, words);
    int perBank[banks] = {};
    int most = 0;
    for (size_t i = 0; i < count; ++i) most = std::max(most, ++perBank[words[i] % banks]);
    total.used += most;
    total.least += static_cast<int>((count + banks - 1) / banks);
  }
  return total;
}

Units sectorsOf(const Request& request) {
  uintptr_t sectors[warpLanes * 16], bytes[warpLanes * 16];
  const size_t used = touched(request, 0, warpLanes, sectorBytes, sectors);
  const size_t distinct = touched(request, 0, warpLanes, 1, bytes);
  return {static_cast<int>(used), static_cast<int>((distinct + sectorBytes - 1) / sectorBytes)};
}

}  // namespace repa::simt
