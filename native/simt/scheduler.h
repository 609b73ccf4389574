// Runs a launch: clusters one after another in random order, mostly without seeing what the others write (isolation.h), and within a
// cluster its warps by an unfair random schedule.
//
// A fair schedule hides races: with all warps advancing in step, a buffer that is reused too early still gives right answers. So a
// turn mostly drives one warp as far as it can go, some blocks are run with fixed priorities among their warps, and asynchronous copies
// mostly stay under way for as long as anything else can run. A lane is switched from only where it must wait.
#pragma once

#include <cstdint>
#include <string>

#include "simt/block.h"

namespace repa::simt {

struct Launch {
  const void* kernel;
  dim3 grid, block;
  size_t sharedBytes;
  unsigned clusterSize;
  dim3 clusterShape;
  /// Calls the kernel with the launch's arguments, as one CUDA thread.
  void (*invoke)(const void* arguments);
  const void* arguments;
};

/// Returns false if the launch failed; the sentence is recorded.
bool runLaunch(const Launch& launch);

const char* kernelName();
const char* nameOfKernel(const void* kernel);

/// What was before the cluster's begin comes before what the calling fiber does from here on.
void acquireBegin();

/// The calling thread cannot go on; returns when something has made it ready.
void park(Thread& thread, Wait wait, const char* name, const void* object, const Place& place);
/// The calling thread could go on but lets others run first.
void yieldThread(Thread& thread);
/// Makes lanes of a warp runnable.
inline void wake(Warp& warp, uint32_t lanes) { warp.ready |= lanes; }

uint64_t randomBits();
/// One time in `n`.
inline bool oneIn(unsigned n) { return randomBits() % n == 0; }

/// From here on the blocks of the launch see each other's writes.
void endIsolation();

/// "in __syncthreads (32 of 64 threads have arrived) at file:12".
std::string describeWait(const Thread& thread);

/// "dynamic shared memory + 64", "tile + 64" or the address itself.
std::string describeAddress(const void* address);
/// Whether [address, address + bytes) lies in the block's shared memory, dynamic or static.
bool inSharedMemory(const Block& block, const void* address, size_t bytes);

}  // namespace repa::simt
