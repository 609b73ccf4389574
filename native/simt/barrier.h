// What threads of a block, of a cluster and of a warp wait for together: barriers and warp collectives.
#pragma once

#include <cstdint>

#include "simt/block.h"

namespace repa::simt {

/// __syncthreads, which is bar.sync 0 for all threads that have not exited (PTX ISA 9.7.13.1).
void syncThreads(const Place& place);
/// bar.sync id, threads.
void barrierSync(int id, int threads, const Place& place);
/// bar.arrive id, threads.
void barrierArrive(int id, int threads, const Place& place);

/// barrier.cluster.arrive and .wait (PTX ISA 9.7.13.3).
void clusterArrive(const Place& place);
void clusterWait(const Place& place);

/// Leaves `operands` for the other lanes of `mask` and returns when the last of them has run the collective. A collective orders
/// no memory accesses, with the exception of __syncwarp.
void meet(const Collective& collective, uint32_t mask, void* operands, const Place& place);

/// A thread returns from the kernel.
void threadExits(Thread& thread);

}  // namespace repa::simt
