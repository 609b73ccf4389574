#include "simt/barrier.h"

#include <bit>
#include <string>

#include "simt/failure.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

std::string line(const Place& place) { return std::string(place.file_name()) + ":" + std::to_string(place.line()); }

bool samePlace(const Place& a, const Place& b) { return a.line() == b.line() && a.column() == b.column(); }

std::string lanesText(uint32_t lanes) {
  std::string text;
  for (int lane = 0; lane < warpLanes; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    int last = lane;
    while (last + 1 < warpLanes && (lanes >> (last + 1) & 1)) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(lane) + (last > lane ? "-" + std::to_string(last) : "");
    lane = last;
  }
  return text;
}

/// Lets the waiting threads go if all are there.
void completeIfFull(Block& block, NamedBarrier& barrier) {
  const unsigned expected = barrier.wholeBlock ? block.alive : barrier.expected;
  if (barrier.arrived < expected || barrier.arrived == 0) return;
  for (Warp& warp : block.warps) {
    wake(warp, barrier.waiting[warp.index]);
    barrier.waiting[warp.index] = 0;
  }
  ++barrier.generation;
  barrier.arrived = 0;
  barrier.expected = 0;
  barrier.wholeBlock = false;
}

/// Counts the calling thread; returns the barrier, whose generation it arrived at is `generation`.
NamedBarrier& arrive(int id, int threads, bool wholeBlock, const Place& place, unsigned& generation) {
  Thread& self = thread();
  Block& block = *self.block;
  if (id < 0 || id >= namedBarriers) fail(place, "there is no named barrier " + std::to_string(id) + "; they are 0 to 15.");
  if (!wholeBlock && (threads <= 0 || threads % warpLanes != 0))
    fail(place, "a named barrier counts whole warps; " + std::to_string(threads) + " threads are no multiple of 32.");
  NamedBarrier& barrier = block.barriers[id];
  if (barrier.arrived == 0) {
    barrier.expected = threads;
    barrier.wholeBlock = wholeBlock;
    barrier.place = place;
  } else if (barrier.wholeBlock != wholeBlock || (!wholeBlock && barrier.expected != static_cast<unsigned>(threads))) {
    fail(place, "named barrier " + std::to_string(id) + " is waited for with different numbers of threads, here and at " +
                    line(barrier.place) + ".");
  } else if (wholeBlock && !samePlace(barrier.place, place)) {
    fail(place, "divergence: threads of this block wait at different __syncthreads, here and at " + line(barrier.place) + ".");
  }
  ++barrier.arrived;
  generation = barrier.generation;
  release(barrier.sync[generation % syncGenerations]);
  return barrier;
}

void sync(int id, int threads, bool wholeBlock, const Place& place) {
  Quiet quiet;
  Thread& self = thread();
  unsigned generation = 0;
  NamedBarrier& barrier = arrive(id, threads, wholeBlock, place, generation);
  barrier.waiting[self.warp->index] |= 1u << self.lane;
  completeIfFull(*self.block, barrier);
  if (barrier.generation == generation) {
    park(self, Wait::barrier, wholeBlock ? "__syncthreads" : "bar.sync", &barrier, place);
  } else {
    self.warp->ready &= ~(1u << self.lane);  // the last to come goes on at once
  }
  acquire(barrier.sync[generation % syncGenerations]);
}

}  // namespace

void syncThreads(const Place& place) { sync(0, 0, true, place); }

void barrierSync(int id, int threads, const Place& place) { sync(id, threads, false, place); }

void barrierArrive(int id, int threads, const Place& place) {
  Quiet quiet;
  unsigned generation = 0;
  NamedBarrier& barrier = arrive(id, threads, false, place, generation);
  completeIfFull(*thread().block, barrier);
}

void clusterArrive(const Place& place) {
  Quiet quiet;
  Thread& self = thread();
  Cluster& cluster = *self.block->cluster;
  if (self.clusterArrived) fail(place, "barrier.cluster.arrive a second time without barrier.cluster.wait in between.");
  self.clusterArrived = true;
  self.clusterPhase = cluster.barrier.generation;
  release(cluster.barrier.sync[self.clusterPhase % syncGenerations]);
  if (++cluster.barrier.arrived < cluster.alive) return;
  cluster.barrier.arrived = 0;
  ++cluster.barrier.generation;
  for (Block& block : cluster.blocks)
    for (Warp& warp : block.warps)
      for (Thread* other : warp.lanes)
        if (other && other->wait == Wait::clusterBarrier) wake(warp, 1u << other->lane);
}

void clusterWait(const Place& place) {
  Quiet quiet;
  Thread& self = thread();
  ClusterBarrier& barrier = self.block->cluster->barrier;
  if (!self.clusterArrived) fail(place, "barrier.cluster.wait without barrier.cluster.arrive before it.");
  if (barrier.generation == self.clusterPhase) park(self, Wait::clusterBarrier, "barrier.cluster.wait", &barrier, place);
  self.clusterArrived = false;
  acquire(barrier.sync[self.clusterPhase % syncGenerations]);
}

void meet(const Collective& collective, uint32_t mask, void* operands, const Place& place) {
  Quiet quiet;
  Thread& self = thread();
  Warp& warp = *self.warp;
  const uint32_t own = 1u << self.lane;
  if (!(mask & own)) fail(place, std::string(collective.name) + ": the calling lane is not in its own mask.");
  if (mask & ~warp.alive)
    fail(place, std::string("divergence: ") + collective.name + " waits for lanes " + lanesText(mask & ~warp.alive) +
                    " of its warp, which have exited or do not exist.");
  warp.collective[self.lane] = &collective;
  warp.mask[self.lane] = mask;
  warp.operands[self.lane] = operands;
  self.place = place;
  const uint32_t others = warp.arrived & mask;
  if (others) {
    const int other = std::countr_zero(others);
    const Place& there = warp.lanes[other]->place;
    if (warp.collective[other] != &collective)
      fail(place, std::string("divergence: this lane comes to ") + collective.name + ", lane " + std::to_string(other) +
                      " of its warp to " + warp.collective[other]->name + " at " + line(there) + ".");
    if (warp.mask[other] != mask)
      fail(place, std::string("divergence: lanes of a warp come to ") + collective.name + " with different masks, here and at " +
                      line(there) + ".");
    if (collective.aligned && !samePlace(there, place))
      fail(place, std::string("divergence: ") + collective.name + " is .aligned, but lane " + std::to_string(other) +
                      " of this warp executes another one, at " + line(there) + ".");
  }
  // Only __syncwarp, which executes nothing, orders memory (PTX ISA 9.7.13.2; shfl.sync and the others promise none).
  const bool orders = collective.execute == nullptr;
  const int lowest = std::countr_zero(mask);
  Sync& sync = warp.sync[lowest][warp.generation[lowest] % syncGenerations];
  if (orders) release(sync);
  if ((others | own) == mask) {
    if (collective.execute) collective.execute(warp, mask);
    ++warp.generation[lowest];
    warp.arrived &= ~mask;
    wake(warp, mask & ~own);
  } else {
    warp.arrived |= own;
    park(self, Wait::collective, collective.name, nullptr, place);
  }
  if (orders) acquire(sync);
}

void threadExits(Thread& self) {
  Quiet quiet;
  Warp& warp = *self.warp;
  Block& block = *self.block;
  warp.alive &= ~(1u << self.lane);
  for (uint32_t waiting = warp.arrived; waiting; waiting &= waiting - 1) {
    const int lane = std::countr_zero(waiting);
    if (warp.mask[lane] >> self.lane & 1)
      fail(warp.lanes[lane]->place, "divergence: this lane returned from the kernel while lane " + std::to_string(lane) +
                                        " of its warp waits for it in " + warp.collective[lane]->name + ".");
  }
  --block.alive;
  --block.cluster->alive;
  for (NamedBarrier& barrier : block.barriers)
    if (barrier.wholeBlock) completeIfFull(block, barrier);
}

}  // namespace repa::simt
