// What a thread waits for, in words.
#include <sstream>

#include "simt/scheduler.h"

namespace repa::simt {

std::string describeWait(const Thread& thread) {
  std::ostringstream text;
  switch (thread.wait) {
    case Wait::collective: text << "for other lanes in " << thread.waitName; break;
    case Wait::barrier: {
      const auto& barrier = *static_cast<const NamedBarrier*>(thread.waitObject);
      text << "in " << thread.waitName << " (" << barrier.arrived << " of ";
      if (barrier.wholeBlock) text << thread.block->alive;
      else text << barrier.expected;
      text << " threads have arrived)";
      break;
    }
    case Wait::clusterBarrier: text << "in barrier.cluster.wait"; break;
    case Wait::mbarrier: {
      const Mbarrier& barrier = thread.block->mbarriers.objects[reinterpret_cast<uintptr_t>(thread.waitObject)];
      text << "in " << thread.waitName << " for phase " << thread.waitPhase << " of the mbarrier at " << describeAddress(barrier.word)
           << " (" << barrier.pending << " of " << barrier.expected << " arrivals missing, " << barrier.transactions
           << " bytes expected that have not come)";
      break;
    }
    case Wait::registers:
      text << "in " << thread.waitName << " for registers, of which its block's pool has " << thread.block->registers.free
           << " for each thread of a warp";
      break;
    case Wait::warpgroup: text << "in " << thread.waitName << " for the other warps of its warpgroup to issue the same wgmma"; break;
    default: text << "to be run"; break;
  }
  if (thread.place.line()) text << " at " << thread.place.file_name() << ":" << thread.place.line();
  return text.str();
}

}  // namespace repa::simt
