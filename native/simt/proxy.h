// The two proxies by which memory is accessed (PTX ISA 8.6): the generic one, which threads' own instructions go through, and the
// asynchronous one of the TMA and wgmma. What a thread has written to shared memory these see after a fence.proxy.async alone, whatever
// barriers lie in between; a CPU, whose memory is one, gives the right result without.
//
// To ThreadSanitizer a thread is therefore two: itself and its asynchronous side, which comes after those of the thread's writes that a
// fence has carried over. Whatever orders two threads orders their asynchronous sides too, and an engine reads after the asynchronous side
// of the thread that has issued: a write that no fence has carried over is a race with that read.
#pragma once

#include "simt/place.h"
#include "simt/sanitizer.h"

namespace repa::simt {

/// What orders threads: a clock of ThreadSanitizer for each proxy.
struct Sync {
  char generic = 0, async = 0;
};

/// fence.proxy.async of shared memory: also what initialised mbarriers wait for before the TMA may count on them.
void fenceProxyAsync();
/// fence.mbarrier_init.
void fenceMbarrierInit();

#if defined(SIMT_TSAN)

/// By the calling thread with its asynchronous side, or by the engine that accesses memory at the time.
void acquire(Sync& sync);
void release(Sync& sync);

/// Within its scope the calling thread is its asynchronous side; it comes itself after what that has accessed.
class AsAsyncSide {
 public:
  AsAsyncSide();
  ~AsAsyncSide();

 private:
  void* self_;
};

#else

inline void acquire(Sync&) {}
inline void release(Sync&) {}
struct AsAsyncSide {
  AsAsyncSide() {}
};

#endif

}  // namespace repa::simt
