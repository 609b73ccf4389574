// A caching, stream-ordered allocator.
//
// Stream-ordered: blocks are taken and given back in the order in which the host enqueues work, and the device's queue
// runs that work in the same order. So a block may be handed out again at once, though the work that last used it
// is still waiting: whatever writes to it next is enqueued behind. A step's memory therefore does not depend on how far the
// host has run ahead, and after the first step no call reaches the system.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/function_ref.h"

namespace repa {

struct MemoryStats {
  int64_t liveBytes;    // in tensors now
  int64_t peakBytes;    // the most that liveBytes ever was, since resetPeak
  int64_t cachedBytes;  // free blocks that are kept for the next request
  int64_t limitBytes;   // live + cached may not pass this
  int64_t systemAllocations;  // how often the system was asked: constant once a training step repeats itself
};

class Allocator {
 public:
  /// What a device's memory comes from. `take` returns null where there is none.
  class Source {
   public:
    virtual ~Source() = default;
    virtual void* take(int64_t bytes) = 0;
    virtual void give(void* block, int64_t bytes) = 0;
    /// Waits until no enqueued work uses a free block any more: called before blocks go back to the system.
    virtual void waitForQueue() = 0;
  };

  Allocator(Source& source, int64_t limitBytes);

  /// At least `bytes` bytes, aligned to 64. Throws Error(outOfMemory) that names `purpose`, the size and what is in use.
  void* allocate(int64_t bytes, const char* purpose);
  void release(void* block);

  MemoryStats stats() const;
  void resetPeak();
  void setLimit(int64_t bytes);
  /// Gives every cached block back to the system.
  void trim();

 private:
  void trimLocked();

  Source& source_;
  mutable std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> free_;  // by block size
  std::map<void*, int64_t> sizes_;              // of live blocks
  MemoryStats stats_{};
};

}  // namespace repa
