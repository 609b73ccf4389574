// The shim as a test sees it.
#pragma once

#include <cstdint>
#include <string>

namespace repa::simt {

/// Seeds the schedule of the launches to come; launch number n runs with a seed derived from (seed, n). Starts as REPA_SIMT_SEED, or 1.
void setSeed(uint64_t seed);

/// What the device failed with: a sentence that names the kernel, block, thread and line. "" while it has not failed.
std::string lastFailure();

/// Makes a failed device usable again. The failed launches' memory stays allocated.
void reset();

/// What has run since the process began.
struct Counters {
  uint64_t launches;
  uint64_t blocks;
  uint64_t threads;
  uint64_t switches;
};
Counters counters();

}  // namespace repa::simt
