#include "simt/warp.h"

#include <bit>
#include <limits>

#include "simt/barrier.h"
#include "simt/device_functions.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

template <class Operands>
Operands& operandsOf(Warp& warp, int lane) {
  return *static_cast<Operands*>(warp.operands[lane]);
}

/// shfl.sync (PTX ISA 9.7.9.6). Lanes outside the segment of `width`, or outside the mask, give the lane its own value.
template <Shuffle kind>
void executeShuffle(Warp& warp, uint32_t mask) {
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    auto& own = operandsOf<ShuffleOperands>(warp, lane);
    const int segment = lane & ~(own.width - 1);
    int source = lane;
    bool inSegment = true;
    switch (kind) {
      case Shuffle::index: source = segment + (own.argument & (own.width - 1)); break;
      case Shuffle::butterfly:
        source = lane ^ own.argument;
        inSegment = source < segment + own.width;
        break;
      case Shuffle::up:
        source = lane - own.argument;
        inSegment = source >= segment;
        break;
      case Shuffle::down:
        source = lane + own.argument;
        inSegment = source < segment + own.width;
        break;
    }
    if (!inSegment) source = lane;
    // The value from a lane that does not take part is undefined.
    own.result = mask >> source & 1 ? operandsOf<ShuffleOperands>(warp, source).value : ~uint64_t{0};
  }
}

struct VoteOperands {
  bool predicate;
  uint32_t result;
};

void executeBallot(Warp& warp, uint32_t mask) {
  uint32_t votes = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (operandsOf<VoteOperands>(warp, lane).predicate) votes |= 1u << lane;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) operandsOf<VoteOperands>(warp, std::countr_zero(rest)).result = votes;
}

struct ReduceOperands {
  unsigned value, result;
};

template <bool maximum>
void executeReduce(Warp& warp, uint32_t mask) {
  unsigned total = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const unsigned value = operandsOf<ReduceOperands>(warp, std::countr_zero(rest)).value;
    total = maximum ? (value > total ? value : total) : total + value;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) operandsOf<ReduceOperands>(warp, std::countr_zero(rest)).result = total;
}

void executeElect(Warp& warp, uint32_t mask) {
  int chosen = static_cast<int>(randomBits() % std::popcount(mask));
  for (uint32_t rest = mask; rest; rest &= rest - 1) operandsOf<VoteOperands>(warp, std::countr_zero(rest)).result = chosen-- == 0;
}

constexpr Collective syncWarpCollective = {"__syncwarp", false, nullptr};
constexpr Collective ballotCollective = {"vote.sync", false, executeBallot};
constexpr Collective electCollective = {"elect.sync", false, executeElect};
constexpr Collective reduceAddCollective = {"redux.sync.add", false, executeReduce<false>};
constexpr Collective reduceMaxCollective = {"redux.sync.max", false, executeReduce<true>};
template <Shuffle kind>
constexpr Collective shuffleCollective = {kind == Shuffle::index       ? "shfl.sync.idx"
                                          : kind == Shuffle::butterfly ? "shfl.sync.bfly"
                                          : kind == Shuffle::up        ? "shfl.sync.up"
                                                                       : "shfl.sync.down",
                                          false, executeShuffle<kind>};

}  // namespace

void syncWarp(uint32_t mask, const Place& place) { meet(syncWarpCollective, mask, nullptr, place); }

uint32_t ballot(uint32_t mask, bool predicate, const Place& place) {
  VoteOperands operands = {predicate, 0};
  meet(ballotCollective, mask, &operands, place);
  return operands.result;
}

bool electLane(uint32_t mask, const Place& place) {
  VoteOperands operands = {false, 0};
  meet(electCollective, mask, &operands, place);
  return operands.result != 0;
}

template <Shuffle kind>
void shuffleBits(uint32_t mask, ShuffleOperands& operands, const Place& place) {
  meet(shuffleCollective<kind>, mask, &operands, place);
}
template void shuffleBits<Shuffle::index>(uint32_t, ShuffleOperands&, const Place&);
template void shuffleBits<Shuffle::butterfly>(uint32_t, ShuffleOperands&, const Place&);
template void shuffleBits<Shuffle::up>(uint32_t, ShuffleOperands&, const Place&);
template void shuffleBits<Shuffle::down>(uint32_t, ShuffleOperands&, const Place&);

}  // namespace repa::simt

namespace {

using repa::simt::Place;
using repa::simt::Quiet;

/// On the chip atomics are relaxed, and the fence beside them orders. For ThreadSanitizer an atomic orders by its address and all
/// fences by one object, which is coarse: it may miss a race that a fence too few makes, and never reports falsely.
char fenceSync;

void maybeLetOthersRun() {
  if (repa::simt::oneIn(4)) repa::simt::yieldThread(repa::simt::thread());
}

template <class T, class Change>
T atomically(T* address, Change change) {
  Quiet quiet;
  repa::simt::endIsolation();
  maybeLetOthersRun();
  repa::simt::acquire(address);
  const T old = *address;
  *address = change(old);
  repa::simt::release(address);
  return old;
}

}  // namespace

void __threadfence() {
  Quiet quiet;
  repa::simt::release(&fenceSync);
  maybeLetOthersRun();
  repa::simt::acquire(&fenceSync);
}
void __threadfence_block() { __threadfence(); }

int atomicAdd(int* address, int value) {
  return atomically(address, [=](int old) { return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value)); });
}
unsigned atomicAdd(unsigned* address, unsigned value) {
  return atomically(address, [=](unsigned old) { return old + value; });
}
unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  return atomically(address, [=](unsigned long long old) { return old + value; });
}
int atomicMax(int* address, int value) {
  return atomically(address, [=](int old) { return old > value ? old : value; });
}
unsigned atomicMax(unsigned* address, unsigned value) {
  return atomically(address, [=](unsigned old) { return old > value ? old : value; });
}
unsigned atomicInc(unsigned* address, unsigned limit) {
  return atomically(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
unsigned atomicOr(unsigned* address, unsigned bits) {
  return atomically(address, [=](unsigned old) { return old | bits; });
}
int atomicExch(int* address, int value) {
  return atomically(address, [=](int) { return value; });
}
unsigned atomicExch(unsigned* address, unsigned value) {
  return atomically(address, [=](unsigned) { return value; });
}
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value) {
  return atomically(address, [=](unsigned old) { return old == compare ? value : old; });
}
int atomicCAS(int* address, int compare, int value) {
  return atomically(address, [=](int old) { return old == compare ? value : old; });
}

unsigned __reduce_add_sync(unsigned mask, unsigned value, Place place) {
  repa::simt::ReduceOperands operands = {value, 0};
  meet(repa::simt::reduceAddCollective, mask, &operands, place);
  return operands.result;
}
unsigned __reduce_max_sync(unsigned mask, unsigned value, Place place) {
  repa::simt::ReduceOperands operands = {value, 0};
  meet(repa::simt::reduceMaxCollective, mask, &operands, place);
  return operands.result;
}

namespace {

/// cvt.rXi.s32.f32 saturates, and gives 0 for NaN.
template <class T>
T saturatingConversion(float x) {
  if (std::isnan(x)) return 0;
  if (x <= static_cast<float>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (x >= static_cast<float>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(x);
}

}  // namespace

int __float2int_rn(float x) { return saturatingConversion<int>(std::nearbyint(x)); }
int __float2int_rz(float x) { return saturatingConversion<int>(std::trunc(x)); }
int __float2int_rd(float x) { return saturatingConversion<int>(std::floor(x)); }
unsigned __float2uint_rn(float x) { return saturatingConversion<unsigned>(std::nearbyint(x)); }

unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = x | static_cast<uint64_t>(y) << 32;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned which = selector >> (4 * i) & 0xf;
    const unsigned byte = bytes >> (8 * (which & 7)) & 0xff;
    result |= (which & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * i);
  }
  return result;
}
