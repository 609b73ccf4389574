#include "simt/mbarrier.h"

#include <string>

#include "simt/block.h"
#include "simt/failure.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

constexpr uint64_t mark = uint64_t{0x6d62} << 48;  // in a word's upper 16 bits; its number in the lower ones
constexpr unsigned maxCount = (1u << 20) - 1;      // 9.7.13.15.2: of arrivals, and of bytes either way
constexpr int64_t maxTransactions = (1 << 20) - 1;

Mbarrier& find(Block& block, uint64_t* word, const Place& place) {
  if (reinterpret_cast<uintptr_t>(word) & 7)
    fail(place, "an mbarrier stands at a multiple of 8 bytes; this one is at " + describeAddress(word) + ".");
  if (!inSharedMemory(block, word, 8)) fail(place, "the mbarrier " + describeAddress(word) + " is not within the block's shared memory.");
  const uint64_t value = *word;
  const uint64_t number = value & 0xffffffffu;
  if ((value & ~uint64_t{0xffffffff}) != mark || number >= block.mbarriers.objects.size() || block.mbarriers.objects[number].word != word)
    fail(place, "the mbarrier " + describeAddress(word) + " is not initialised, or something was written over it.");
  return block.mbarriers.objects[number];
}

void completePhaseIfDone(Block& block, Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.transactions != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  for (Warp& warp : block.warps) {
    wake(warp, barrier.waiting[warp.index]);
    barrier.waiting[warp.index] = 0;
  }
}

void arrive(Block& block, Mbarrier& barrier, const Place& place) {
  if (barrier.pending == 0)
    fail(place, "the mbarrier " + describeAddress(barrier.word) + " expects " + std::to_string(barrier.expected) +
                    " arrivals a phase; this is one more.");
  release(barrier.sync[barrier.phase % mbarrierSyncs]);
  --barrier.pending;
  completePhaseIfDone(block, barrier);
}

bool completed(const Mbarrier& barrier, unsigned parity) { return (barrier.phase & 1) != (parity & 1); }

void acquireLastPhase(Mbarrier& barrier) {
  if (barrier.phase > 0) acquire(barrier.sync[(barrier.phase - 1) % mbarrierSyncs]);
}

Block& ownBlock() { return *thread().block; }

/// Initialising is a write that all uses must come after.
void traceUse(uint64_t* word, void* pc) { tracedRead(word, 8, pc); }

}  // namespace

void mbarrierInit(uint64_t* word, unsigned arrivals, const Place& place) {
  {
    Quiet quiet;
    Block& block = ownBlock();
    if (reinterpret_cast<uintptr_t>(word) & 7 || !inSharedMemory(block, word, 8))
      fail(place,
           "an mbarrier stands at a multiple of 8 bytes in the block's shared memory; this one is at " + describeAddress(word) + ".");
    if (arrivals == 0 || arrivals > maxCount)
      fail(place, "an mbarrier counts 1 to " + std::to_string(maxCount) + " arrivals, not " + std::to_string(arrivals) + ".");
    for (const Mbarrier& other : block.mbarriers.objects)
      if (other.word == word)
        fail(place, "the mbarrier " + describeAddress(word) + " is initialised again; mbarrier.inval comes before that.");
    Mbarrier barrier;
    barrier.word = word;
    barrier.expected = barrier.pending = arrivals;
    barrier.initialisedBy = &thread();
    *word = mark | block.mbarriers.objects.size();
    block.mbarriers.objects.push_back(barrier);
  }
  tracedWrite(word, 8, __builtin_return_address(0));
}

void mbarriersBecomeVisible(Block& block, const Thread& thread) {
  for (Mbarrier& barrier : block.mbarriers.objects)
    if (barrier.initialisedBy == &thread) barrier.visible = true;
}

void requireVisibleMbarrier(Block& block, uint64_t* word, const char* use, const Place& place) {
  Quiet quiet;
  if (!find(block, word, place).visible)
    fail(place, std::string(use) + " completes on the mbarrier " + describeAddress(word) +
                    ", but no fence.mbarrier_init follows its initialisation in the thread that made it.");
}

void mbarrierInvalidate(uint64_t* word, const Place& place) {
  {
    Quiet quiet;
    find(ownBlock(), word, place).word = nullptr;
    *word = ~uint64_t{0};
  }
  tracedWrite(word, 8, __builtin_return_address(0));
}

void mbarrierArrive(uint64_t* word, const Place& place) {
  traceUse(word, __builtin_return_address(0));
  Quiet quiet;
  arrive(ownBlock(), find(ownBlock(), word, place), place);
}

void mbarrierExpect(uint64_t* word, uint32_t bytes, bool arrives, const Place& place) {
  traceUse(word, __builtin_return_address(0));
  Quiet quiet;
  Mbarrier& barrier = find(ownBlock(), word, place);
  barrier.transactions += bytes;
  if (barrier.transactions > maxTransactions)
    fail(place, "the mbarrier " + describeAddress(word) + " is to expect " + std::to_string(barrier.transactions) +
                    " bytes; it counts to " + std::to_string(maxTransactions) + ".");
  if (arrives) arrive(ownBlock(), barrier, place);
}

void mbarrierArriveAt(Block& block, uint64_t* word, const Place& place) {
  traceUse(word, __builtin_return_address(0));
  Quiet quiet;
  arrive(block, find(block, word, place), place);
}

bool mbarrierTest(uint64_t* word, unsigned parity, const Place& place) {
  traceUse(word, __builtin_return_address(0));
  Quiet quiet;
  Mbarrier* barrier = &find(ownBlock(), word, place);
  if (!completed(*barrier, parity)) {
    // The instruction may wait for a while. Here it mostly waits for as long as it takes, so that a deadlock is recognised as one.
    if (oneIn(4)) {
      yieldThread(thread());
      barrier = &find(ownBlock(), word, place);
      if (!completed(*barrier, parity)) return false;
    } else {
      mbarrierWait(word, parity, place);
      return true;
    }
  }
  acquireLastPhase(*barrier);
  return true;
}

void mbarrierWait(uint64_t* word, unsigned parity, const Place& place) {
  traceUse(word, __builtin_return_address(0));
  Quiet quiet;
  Thread& self = thread();
  for (;;) {
    Mbarrier& barrier = find(ownBlock(), word, place);
    if (completed(barrier, parity)) return acquireLastPhase(barrier);
    barrier.waiting[self.warp->index] |= 1u << self.lane;
    self.waitPhase = parity;
    const uintptr_t number = &barrier - self.block->mbarriers.objects.data();
    park(self, Wait::mbarrier, "mbarrier.try_wait.parity", reinterpret_cast<const void*>(number), place);
  }
}

unsigned mbarrierPhase(Block& block, uint64_t* word, const Place& place) {
  Quiet quiet;
  return find(block, word, place).phase;
}

void mbarrierComplete(Block& block, uint64_t* word, uint32_t bytes, unsigned issuePhase, const Place& place) {
  Quiet quiet;
  Mbarrier& barrier = find(block, word, place);
  if (barrier.phase != issuePhase)
    fail(place, "wrong expect_tx: the phase of the mbarrier " + describeAddress(word) + " was complete before the " +
                    std::to_string(bytes) + " bytes of the TMA load issued at " + place.file_name() + ":" + std::to_string(place.line()) +
                    " landed; fewer bytes were expected than were loaded.");
  release(barrier.sync[barrier.phase % mbarrierSyncs]);
  barrier.transactions -= bytes;
  if (barrier.transactions < -maxTransactions)
    fail(place, "the mbarrier " + describeAddress(word) + " got " + std::to_string(-barrier.transactions) + " bytes more than it expects.");
  completePhaseIfDone(block, barrier);
}

}  // namespace repa::simt
