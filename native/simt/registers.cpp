#include "simt/registers.h"

#include <algorithm>
#include <string>

#include "simt/barrier.h"
#include "simt/block.h"
#include "simt/failure.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

constexpr int registersOfMultiprocessor = 65536, mostOfThread = 256, granule = 8;

constexpr Collective decreaseCollective = {"setmaxnreg.dec", true, [](Warp&, uint32_t) {}};
constexpr Collective increaseCollective = {"setmaxnreg.inc", true, [](Warp&, uint32_t) {}};

void wakeWaiting(Block& block) {
  for (Warp& warp : block.warps)
    for (Thread* thread : warp.lanes)
      if (thread && thread->wait == Wait::registers) wake(warp, 1u << thread->lane);
}

}  // namespace

void prepareRegisters(Block& block) {
  block.registers = {};
  const int threads = static_cast<int>(block.warps.size()) * warpLanes;
  std::ranges::fill(block.registers.ofThread, std::min(registersOfMultiprocessor / threads / granule * granule, mostOfThread));
}

void setRegisters(int registers, bool increase, const Place& place) {
  Thread& self = thread();
  Block& block = *self.block;
  RegisterPool& pool = block.registers;
  const int warp = self.warp->index, first = warp / warpgroupWarps * warpgroupWarps;
  if (static_cast<size_t>(first + warpgroupWarps) > block.warps.size())
    fail(place, "setmaxnreg is for warpgroups of four warps; the block has " + std::to_string(block.threads) + " threads.");
  meet(increase ? increaseCollective : decreaseCollective, 0xffffffffu, nullptr, place);
  Quiet quiet;
  int& own = pool.ofThread[warp];
  // One lane does it for its warp, whichever comes first.
  if (self.registerChanges++ < pool.changes[warp]) {
    while (increase && own < registers) park(self, Wait::registers, "setmaxnreg.inc", nullptr, place);
    return;
  }
  ++pool.changes[warp];
  for (int other = first; other < first + warpgroupWarps; ++other)
    if (pool.changes[other] + 1 < pool.changes[warp])
      fail(place, "this warp changes its registers again before warp " + std::to_string(other) +
                      " of its warpgroup has changed its own: setmaxnreg is for all four, which synchronise in between.");
  if (increase ? registers < own : registers > own)
    fail(place, std::string(increase ? "setmaxnreg.inc" : "setmaxnreg.dec") + " to " + std::to_string(registers) +
                    " registers: a thread has " + std::to_string(own) + ".");
  while (increase && pool.free < registers - own) park(self, Wait::registers, "setmaxnreg.inc", nullptr, place);
  pool.free -= registers - own;
  own = registers;
  wakeWaiting(block);
}

const char* incompleteRegisterChange(const Block& block) {
  for (size_t warp = 0; warp < block.warps.size(); ++warp)
    if (block.registers.changes[warp] != block.registers.changes[warp / warpgroupWarps * warpgroupWarps])
      return "some warps of a warpgroup executed a setmaxnreg that others did not; it is for all four.";
  return "";
}

}  // namespace repa::simt
