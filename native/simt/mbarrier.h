// mbarrier objects (PTX ISA 9.7.13.15) of a block.
#pragma once

#include <cstdint>
#include <vector>

#include "simt/place.h"
#include "simt/proxy.h"

namespace repa::simt {

struct Block;
struct Thread;

constexpr int mbarrierSyncs = 4;

struct Mbarrier {
  uint64_t* word = nullptr;  // in shared memory; holds a mark and this object's number
  unsigned expected = 0;     // arrivals per phase
  unsigned pending = 0;      // arrivals still missing in the present phase
  int64_t transactions = 0;  // tx-count: bytes expected and not arrived
  unsigned phase = 0;        // how many phases have completed
  uint32_t waiting[32] = {};  // lanes of each warp
  Sync sync[mbarrierSyncs] = {};
  const Thread* initialisedBy = nullptr;
  bool visible = false;  // to the TMA and to other blocks: by a fence of that thread
};

struct Mbarriers {
  std::vector<Mbarrier> objects;
};

void mbarrierInit(uint64_t* barrier, unsigned arrivals, const Place& place);
void mbarrierInvalidate(uint64_t* barrier, const Place& place);
void mbarrierArrive(uint64_t* barrier, const Place& place);
/// mbarrier.expect_tx, and with `arrives` mbarrier.arrive.expect_tx.
void mbarrierExpect(uint64_t* barrier, uint32_t bytes, bool arrives, const Place& place);
/// mbarrier.try_wait.parity, once.
bool mbarrierTest(uint64_t* barrier, unsigned parity, const Place& place);
/// try_wait.parity until it says yes.
void mbarrierWait(uint64_t* barrier, unsigned parity, const Place& place);

/// Another block's barrier, by the offset of its word: arrival from this block.
void mbarrierArriveAt(Block& block, uint64_t* barrier, const Place& place);
/// complete_tx: bytes of a bulk copy, issued when the barrier was in `issuePhase`, have landed.
void mbarrierComplete(Block& block, uint64_t* barrier, uint32_t bytes, unsigned issuePhase, const Place& place);
/// The barrier's phase, for the copies that will complete on it.
unsigned mbarrierPhase(Block& block, uint64_t* barrier, const Place& place);

/// Those that the thread has initialised in its block.
void mbarriersBecomeVisible(Block& block, const Thread& thread);
/// Fails where no fence stands between a barrier's initialisation and `use` of it by what is not a thread of its block.
void requireVisibleMbarrier(Block& block, uint64_t* barrier, const char* use, const Place& place);

}  // namespace repa::simt
