#include "simt/proxy.h"

#include "simt/block.h"
#include "simt/engine.h"
#include "simt/scheduler.h"

namespace repa::simt {

#if defined(SIMT_TSAN)

AsAsyncSide::AsAsyncSide() : self_(__tsan_get_current_fiber()) {
  AsyncSide& side = thread().asyncSide;
  if (!side.fiber) side.fiber = createFiberOfBegin();
  __tsan_switch_to_fiber(side.fiber, 1);
  if (side.begun) return;
  side.begun = true;
  acquireBegin();
}

AsAsyncSide::~AsAsyncSide() {
  AsyncSide& side = thread().asyncSide;
  release(&side.handedBack);
  __tsan_switch_to_fiber(self_, 1);
  acquire(&side.handedBack);
}

// Until the first fence or load of a cluster, asynchronous sides know of nothing that they could pass on.

void acquire(Sync& sync) {
  acquire(&sync.generic);
  if (engineAccesses) return acquire(&sync.async);
  if (!thread().block->cluster->usesAsyncProxy) return;
  const AsAsyncSide side;
  acquire(&sync.async);
}

void release(Sync& sync) {
  release(&sync.generic);
  if (engineAccesses) return release(&sync.async);
  if (!thread().block->cluster->usesAsyncProxy) return;
  const AsAsyncSide side;
  release(&sync.async);
}

#endif

void fenceProxyAsync() {
  fenceMbarrierInit();
#if defined(SIMT_TSAN)
  Thread& self = thread();
  self.block->cluster->usesAsyncProxy = true;
  release(&self.asyncSide.carriedOver);
  const AsAsyncSide side;
  acquire(&self.asyncSide.carriedOver);
#endif
}

void fenceMbarrierInit() {
  Quiet quiet;
  mbarriersBecomeVisible(*thread().block, thread());
}

}  // namespace repa::simt
