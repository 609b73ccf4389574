// cp.async (PTX ISA 9.7.9.25.3): copies of 4, 8 or 16 bytes that a thread starts and later waits for.
//
// The manual leaves open when a copy happens between its issue and the wait that covers it. Here the destination is poisoned with
// NaN at the issue and written at the wait: a wait that is missing or off by one yields NaN, and so does a buffer that is
// refilled while others still read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "simt/place.h"

namespace repa::simt {

struct AsyncCopy {
  void* destination;
  const void* source;
  uint8_t bytes;
  uint8_t sourceBytes;  // the rest is filled with zeros
  void* pc;
};

/// One thread's copies: those of closed groups, oldest first, then those not yet committed.
struct AsyncCopies {
  std::vector<AsyncCopy> pending;
  std::vector<size_t> groupEnds;  // into `pending`

  void clear() {
    pending.clear();
    groupEnds.clear();
  }
};

void asyncCopy(void* sharedDestination, const void* globalSource, int bytes, int sourceBytes, const Place& place);
void asyncCommit();
/// Waits until at most `newest` groups are pending.
void asyncWait(int newest);

/// cp.async.bulk.prefetch (9.7.9.25.4.3) does nothing here but ask for the same alignment.
void checkPrefetch(const void* global, unsigned bytes, const Place& place);

}  // namespace repa::simt
