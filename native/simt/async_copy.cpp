#include "simt/async_copy.h"

#include <cstring>
#include <string>

#include "simt/block.h"
#include "simt/failure.h"
#include "simt/observer.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

void checkCopy(const void* destination, const void* source, int bytes, int sourceBytes, const Place& place) {
  if ((reinterpret_cast<uintptr_t>(destination) | reinterpret_cast<uintptr_t>(source)) & (bytes - 1))
    fail(place, "cp.async of " + std::to_string(bytes) + " bytes takes addresses that are multiples of it; these are " +
                    describeAddress(destination) + " and " + describeAddress(source) + ".");
  if (sourceBytes < 0 || sourceBytes > bytes)
    fail(place, "cp.async of " + std::to_string(bytes) + " bytes cannot read " + std::to_string(sourceBytes) + ".");
  if (!inSharedMemory(*thread().block, destination, bytes))
    fail(place, "cp.async: the destination, " + describeAddress(destination) + ", is not within the block's shared memory.");
}

}  // namespace

void asyncCopy(void* destination, const void* source, int bytes, int sourceBytes, const Place& place) {
  void* pc = __builtin_return_address(0);
  {
    Quiet quiet;
    checkCopy(destination, source, bytes, sourceBytes, place);
    std::memset(destination, 0xff, bytes);
    thread().copies.pending.push_back({destination, source, static_cast<uint8_t>(bytes), static_cast<uint8_t>(sourceBytes), pc});
  }
  tracedWrite(destination, bytes, pc);
  if (!observer) return;
  if (sourceBytes) observer->access(pc, source, sourceBytes, false);
  observer->access(pc, destination, bytes, true);
}

void asyncCommit() {
  Quiet quiet;
  AsyncCopies& copies = thread().copies;
  copies.groupEnds.push_back(copies.pending.size());
}

void asyncWait(int newest) {
  AsyncCopies& copies = thread().copies;
  if (copies.groupEnds.size() <= static_cast<size_t>(newest)) return;
  const size_t groups = copies.groupEnds.size() - newest;
  const size_t landing = copies.groupEnds[groups - 1];
  {
    Quiet quiet;
    for (size_t i = 0; i < landing; ++i) {
      const AsyncCopy& copy = copies.pending[i];
      std::memcpy(copy.destination, copy.source, copy.sourceBytes);
      std::memset(static_cast<unsigned char*>(copy.destination) + copy.sourceBytes, 0, copy.bytes - copy.sourceBytes);
    }
  }
  for (size_t i = 0; i < landing; ++i) {
    const AsyncCopy& copy = copies.pending[i];
    if (copy.sourceBytes) tracedRead(copy.source, copy.sourceBytes, copy.pc);
    tracedWrite(copy.destination, copy.bytes, copy.pc);
  }
  Quiet quiet;
  copies.pending.erase(copies.pending.begin(), copies.pending.begin() + static_cast<ptrdiff_t>(landing));
  copies.groupEnds.erase(copies.groupEnds.begin(), copies.groupEnds.begin() + static_cast<ptrdiff_t>(groups));
  for (size_t& end : copies.groupEnds) end -= landing;
}

void checkPrefetch(const void* global, unsigned bytes, const Place& place) {
  if ((reinterpret_cast<uintptr_t>(global) | bytes) & 15)
    fail(place, "cp.async.bulk.prefetch takes an address and a number of bytes that are multiples of 16; these are " +
                    describeAddress(global) + " and " + std::to_string(bytes) + ".");
}

}  // namespace repa::simt
