// What exists while a kernel runs: threads in warps in blocks in a cluster.
//
// One launch runs at a time, whatever stream it came from, on that stream's host thread; so the machine is one global object
// and `currentThread` a plain global pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "simt/async_copy.h"
#include "simt/fiber.h"
#include "simt/mbarrier.h"
#include "simt/place.h"
#include "simt/proxy.h"
#include "simt/registers.h"
#include "simt/tma.h"
#include "simt/vector_types.h"
#include "simt/wgmma.h"

namespace repa::simt {

struct Block;
struct Cluster;
struct Warp;

constexpr int warpLanes = 32;
constexpr int maxWarps = 32;
constexpr int namedBarriers = 16;
/// Clocks of ThreadSanitizer per barrier: one for each generation that threads can still be leaving, and some to spare. With a
/// single one, a thread that leaves late would seem ordered after what others did since, and races would go unseen.
constexpr int syncGenerations = 4;

enum class Wait : uint8_t { none, collective, barrier, clusterBarrier, mbarrier, warpgroup, registers, finished };

/// A thread as the asynchronous proxy sees its accesses (simt/proxy.h).
struct AsyncSide {
  void* fiber = nullptr;  // ThreadSanitizer's, made at its first use
  bool begun = false;     // in this cluster
  char carriedOver = 0, handedBack = 0;
};

struct Thread {
  Context context;
  uint3 index = {};  // threadIdx
  unsigned rank = 0;
  int lane = 0;
  Warp* warp = nullptr;
  Block* block = nullptr;

  Wait wait = Wait::none;
  const char* waitName = "";         // the instruction, "" for none
  const void* waitObject = nullptr;  // the barrier
  unsigned waitPhase = 0;
  Place place;

  AsyncCopies copies;         // cp.async
  BulkStores bulkStores;      // cp.async.bulk to global memory
  unsigned clusterPhase = 0;  // the generation of barrier.cluster that it arrived at
  bool clusterArrived = false;
  AsyncSide asyncSide;
  unsigned registerChanges = 0;  // how many setmaxnreg it has executed
};

/// What a warp's lanes do together.
struct Collective {
  const char* name;
  /// True where the manual asks that all lanes execute the same instruction (.aligned), and not just one of its kind.
  bool aligned;
  /// Runs once all lanes of `mask` are there, on the operands that they left in Warp::operands.
  void (*execute)(Warp& warp, uint32_t mask);
};

struct Warp {
  Block* block = nullptr;
  int index = 0;
  uint32_t alive = 0;
  uint32_t ready = 0;    // lanes that can run, without the one that does
  uint32_t arrived = 0;  // lanes that wait in a collective
  Thread* lanes[warpLanes] = {};
  const Collective* collective[warpLanes] = {};
  uint32_t mask[warpLanes] = {};
  void* operands[warpLanes] = {};
  unsigned generation[warpLanes] = {};  // of the collectives whose lowest lane this is
  Sync sync[warpLanes][syncGenerations] = {};
};

/// bar.sync and bar.arrive (PTX ISA 9.7.13.1).
struct NamedBarrier {
  unsigned expected = 0;  // threads of the present generation; 0 while nobody has arrived
  unsigned arrived = 0;
  unsigned generation = 0;
  bool wholeBlock = false;  // __syncthreads: all threads that have not exited
  Place place;
  uint32_t waiting[maxWarps] = {};
  Sync sync[syncGenerations] = {};
};

struct Block {
  Cluster* cluster = nullptr;
  uint3 index = {};  // blockIdx
  unsigned rankInCluster = 0;
  unsigned alive = 0;
  unsigned threads = 0;
  std::vector<Warp> warps;
  NamedBarrier barriers[namedBarriers];
  Mbarriers mbarriers;
  std::vector<std::unique_ptr<Warpgroup>> warpgroups;
  RegisterPool registers;
  unsigned char* sharedMemory = nullptr;  // dynamic
  size_t sharedBytes = 0;
};

struct ClusterBarrier {
  unsigned arrived = 0;
  unsigned generation = 0;
  Sync sync[syncGenerations] = {};
};

struct Cluster {
  std::vector<Block> blocks;
  unsigned alive = 0;  // threads
  ClusterBarrier barrier;
  std::vector<BulkCopy> inFlight;  // TMA transfers that have not landed
  char engineSync = 0;             // those that have
  bool usesAsyncProxy = false;     // a fence of proxies, or a load by the TMA, has been executed
};

inline Thread* currentThread = nullptr;

#if defined(SIMT_TSAN)
Thread& thread();  // not inlined into instrumented code
#else
inline Thread& thread() { return *currentThread; }
#endif

/// The running launch's shape, under CUDA's names.
extern dim3 gridDim;
extern dim3 blockDim;

}  // namespace repa::simt
