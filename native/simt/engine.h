// What accesses memory beside the CUDA threads, the copy engine and the tensor cores: to ThreadSanitizer a thread of its own.
#pragma once

#include "simt/block.h"

namespace repa::simt {

/// Whether an engine accesses memory now, not the current thread.
inline bool engineAccesses = false;

/// Within its scope accesses are the engine's, ordered by what it acquires and releases alone; the cluster's end comes after them.
/// `fiber`: the engine's, made at its first use.
class AsEngine {
 public:
#if defined(SIMT_TSAN)
  AsEngine(void*& fiber, Cluster& cluster) : cluster_(cluster), self_(__tsan_get_current_fiber()) {
    if (!fiber) fiber = createFiberOfBegin();
    __tsan_switch_to_fiber(fiber, 1);
    engineAccesses = true;
  }
  ~AsEngine() {
    engineAccesses = false;
    release(&cluster_.engineSync);
    __tsan_switch_to_fiber(self_, 1);
  }

 private:
  Cluster& cluster_;
  void* self_;
#else
  AsEngine(void*&, Cluster&) {}
#endif
};

}  // namespace repa::simt
