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
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/function_ref.h"

namespace repa {

struct MemoryStats {
  int64_t liveBytes;    // in tensors now
  int64_t peakBytes;    // the most that liveBytes ever was, since resetPeak
  int64_t cachedBytes;  // free blocks that are kept for the next request, or for the graph that was captured with them
  int64_t limitBytes;   // live + cached may not pass this
  int64_t systemAllocations;  // how often the system was asked: constant once a training step repeats itself
};

class Allocator {
 public:
  /// What a device's memory comes from. `take` returns null where there is none, and throws where the device does not work any more.
  class Source {
   public:
    virtual ~Source() = default;
    virtual void* take(int64_t bytes) = 0;
    virtual void give(void* block, int64_t bytes) = 0;
    /// Waits until no enqueued work uses a free block any more: called before blocks go back to the system.
    virtual void waitForQueue() = 0;
  };

  struct Block {
    void* data;
    int64_t bytes;
  };

  Allocator(Source& source, int64_t limitBytes);

  /// At least `bytes` bytes, aligned to 64. Throws Error(outOfMemory) that names `purpose`, the size and what is in use.
  Block allocate(int64_t bytes, const char* purpose);
  void release(Block block);
  /// Memory for the device itself, which is in no count and is never given back. Throws as allocate does.
  void* takeUncounted(int64_t bytes, const char* purpose);

  MemoryStats stats() const;
  void resetPeak();
  void setLimit(int64_t bytes);
  /// Gives every cached block back to the system; whether there was any.
  bool trim();

  /// From here to endPool(), every block that is handed out belongs to a pool: what a captured graph writes to at every replay.
  /// A pool's blocks are handed out to nobody else, also once they are released, until the pool is dropped. Pools do not nest.
  void beginPool();
  /// The pool's number.
  int64_t endPool();
  void dropPool(int64_t pool);

 private:
  /// By size, of which there are few. One that has no block any more stays, for a step that repeats itself comes back to it.
  using FreeBlocks = std::map<int64_t, std::vector<void*>>;
  /// Blocks of a pool, and those of them that are free. While it is open they may be taken again; then they only wait.
  struct Pool {
    std::set<void*> blocks;
    FreeBlocks free;
  };

  /// For want of a block of `size` bytes.
  Error outOfMemory(int64_t bytes, int64_t size, const char* purpose) const;
  /// Of `size` bytes or a little more; null where there is none.
  Block takeFree(FreeBlocks& free, int64_t size);
  Pool* poolOf(void* block);
  bool trimLocked();

  Source& source_;
  mutable std::mutex mutex_;
  FreeBlocks free_;
  std::map<int64_t, Pool> pools_;
  Pool* open_ = nullptr;
  int64_t nextPool_ = 1;
  MemoryStats stats_{};
};

}  // namespace repa
