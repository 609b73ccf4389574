#include "simt/scheduler.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

#include "simt/barrier.h"
#include "simt/failure.h"
#include "simt/isolation.h"
#include "simt/launched_kernels.h"
#include "simt/observer.h"
#include "simt/random.h"
#include "simt/simt.h"
#include "simt/symbols.h"

namespace repa::simt {

dim3 gridDim;
dim3 blockDim;

#if defined(SIMT_TSAN)
Thread& thread() { return *currentThread; }
#endif

namespace {

constexpr size_t sharedGuardBytes = 256;
constexpr unsigned char guardByte = 0xA5;

uint64_t initialSeed() {
  const char* text = std::getenv("REPA_SIMT_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}

/// The failure of a launch; its sentence is recorded. Thrown on the stack of the CUDA thread that failed, which it unwinds, or by the
/// scheduler itself.
struct LaunchFailed {};

/// How a cluster is scheduled.
struct Temper {
  bool priorities;        // always the first ready warp of a random order
  unsigned landOneIn;     // how eagerly asynchronous copies land while threads can run
  unsigned preemptOneIn;  // how many turns end before the warp is stuck
};

class Machine {
 public:
  bool run(const Launch& launch);
  void park(Thread& thread);
  void yield(Thread& thread);
  void acquireBegin() { acquire(&startSync_); }

  Random random;
  Isolation isolation;
  const Launch* launch = nullptr;
  const std::vector<SharedVariable>* staticShared = nullptr;  // of the running kernel's module
  uint64_t seed = initialSeed();
  Counters counters = {};

 private:
  void prepareCluster(const dim3& first);
  void prepareBlock(Block& block, const uint3& index, unsigned rank);
  void runCluster();
  void finishCluster();
  void checkStaticShared();
  void poisonStaticShared();
  [[noreturn]] void reportDeadlock();
  Thread* nextLane(Warp& warp);
  void switchFrom(Context& from, Thread* next);
  static void fiberMain();

  Context host_;
  std::vector<std::unique_ptr<Thread>> threads_;  // all that any launch has needed
  Cluster cluster_;
  std::vector<unsigned char*> sharedBlocks_;
  std::vector<Warp*> warps_;  // of the cluster, in this cluster's order of priority
  Temper temper_ = {};
  unsigned rotation_ = 0;
  bool descending_ = false;
  long turnLeft_ = 0;
  bool failed_ = false;
  char startSync_ = 0, endSync_ = 0;
};

Machine& machine = *new Machine;

/// A fiber's life: one CUDA thread after another.
void Machine::fiberMain() {
  finishFirstSwitch();
  for (;;) {
    Thread& self = *currentThread;
    acquire(&machine.startSync_);
    try {
      machine.launch->invoke(machine.launch->arguments);
      threadExits(self);
    } catch (const LaunchFailed&) {
      machine.failed_ = true;
      machine.turnLeft_ = 0;  // back to the scheduler, which ends the launch
    }
    release(&machine.endSync_);
    self.wait = Wait::finished;
    machine.park(self);
  }
}

Thread* Machine::nextLane(Warp& warp) {
  if (!warp.ready) return nullptr;
  const uint32_t turned = rotation_ ? (warp.ready >> rotation_) | (warp.ready << (32 - rotation_)) : warp.ready;
  const int first = descending_ ? 31 - __builtin_clz(turned) : __builtin_ctz(turned);
  const int lane = (first + rotation_) & 31;
  warp.ready &= ~(1u << lane);
  return warp.lanes[lane];
}

void Machine::switchFrom(Context& from, Thread* next) {
  ++counters.switches;
  currentThread = next;
  if (next && &next->context == &from) return;
  switchContext(from, next ? next->context : host_);
}

/// Straight to the next lane of the warp while the warp's turn lasts, else back to the scheduler.
void Machine::park(Thread& self) { switchFrom(self.context, --turnLeft_ > 0 ? nextLane(*self.warp) : nullptr); }

void Machine::yield(Thread& self) {
  self.warp->ready |= 1u << self.lane;
  switchFrom(self.context, nullptr);
}

void Machine::prepareBlock(Block& block, const uint3& index, unsigned rank) {
  const dim3 shape = launch->block;
  const unsigned threads = shape.x * shape.y * shape.z;
  block.cluster = &cluster_;
  block.index = index;
  block.rankInCluster = rank;
  block.alive = block.threads = threads;
  for (NamedBarrier& barrier : block.barriers) barrier = NamedBarrier{};
  block.mbarriers.objects.clear();
  block.warpgroups.clear();
  for (unsigned first = 0; first < threads; first += warpgroupWarps * warpLanes) block.warpgroups.push_back(std::make_unique<Warpgroup>());
  block.warps.assign((threads + warpLanes - 1) / warpLanes, Warp{});
  for (unsigned rankInBlock = 0; rankInBlock < threads; ++rankInBlock) {
    Thread& thread = *threads_[rank * threads + rankInBlock];
    Warp& warp = block.warps[rankInBlock / warpLanes];
    thread.index = {rankInBlock % shape.x, rankInBlock / shape.x % shape.y, rankInBlock / (shape.x * shape.y)};
    thread.rank = rankInBlock;
    thread.lane = rankInBlock % warpLanes;
    thread.warp = &warp;
    thread.block = &block;
    thread.wait = Wait::none;
    thread.copies.clear();
    thread.bulkStores = {};
    thread.clusterArrived = false;
    thread.clusterPhase = 0;
    thread.asyncSide.begun = false;
    thread.registerChanges = 0;
    warp.block = &block;
    warp.index = static_cast<int>(rankInBlock / warpLanes);
    warp.lanes[thread.lane] = &thread;
    warp.alive |= 1u << thread.lane;
  }
  for (Warp& warp : block.warps) warp.ready = warp.alive;
  prepareRegisters(block);

  // Uninitialised shared memory is NaN.
  block.sharedBytes = launch->sharedBytes;
  if (sharedBlocks_.size() <= rank) sharedBlocks_.resize(rank + 1, nullptr);
#if defined(SIMT_ASAN)
  const size_t guard = 0;  // ASan's own red zone follows
#else
  const size_t guard = sharedGuardBytes;
#endif
  if (!sharedBlocks_[rank]) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 1024, std::max<size_t>(block.sharedBytes + guard, 1)))
      failLaunch("the host has no memory for the shared memory of a block.");
    sharedBlocks_[rank] = static_cast<unsigned char*>(memory);
  }
  block.sharedMemory = sharedBlocks_[rank];
  std::memset(block.sharedMemory, 0xff, block.sharedBytes);
  std::memset(block.sharedMemory + block.sharedBytes, guardByte, guard);
}

void Machine::poisonStaticShared() {
  for (const SharedVariable& variable : *staticShared) std::memset(variable.address, 0xff, variable.bytes);
}

/// The blocks of a cluster would share one copy of the static variables.
void Machine::checkStaticShared() {
  for (const SharedVariable& variable : *staticShared)
    for (size_t byte = 0; byte < variable.bytes; ++byte)
      if (variable.address[byte] != 0xff)
        failLaunch("a kernel that is launched in clusters wrote the static shared variable " + variable.name +
                   ": under the shim such kernels can use dynamic shared memory only.");
}

void Machine::prepareCluster(const dim3& first) {
  const dim3 shape = launch->clusterShape;
  cluster_.blocks.resize(launch->clusterSize);
  cluster_.inFlight.clear();
  cluster_.barrier = ClusterBarrier{};
  cluster_.alive = 0;
  cluster_.usesAsyncProxy = false;
  warps_.clear();
  for (unsigned rank = 0; rank < launch->clusterSize; ++rank) {
    const uint3 index = {first.x + rank % shape.x, first.y + rank / shape.x % shape.y, first.z + rank / (shape.x * shape.y)};
    prepareBlock(cluster_.blocks[rank], index, rank);
    cluster_.alive += cluster_.blocks[rank].threads;
    for (Warp& warp : cluster_.blocks[rank].warps) warps_.push_back(&warp);
  }
  poisonStaticShared();
  for (size_t i = warps_.size(); i > 1; --i) std::swap(warps_[i - 1], warps_[random.next() % i]);
  temper_.priorities = random.next() % 3 == 0;
  temper_.landOneIn = random.next() % 2 ? 4 : 1000000;
  temper_.preemptOneIn = random.next() % 2 ? 4 : 16;
  release(&startSync_);
}

void Machine::runCluster() {
  Warp* ready[maxWarps * 16];
  while (cluster_.alive) {
    size_t count = 0;
    for (Warp* warp : warps_)
      if (warp->ready) {
        ready[count++] = warp;
        if (temper_.priorities && count == 1 && random.next() % 8) break;
      }
    if (!cluster_.inFlight.empty() && (count == 0 || random.next() % temper_.landOneIn == 0)) {
      const size_t which = random.next() % cluster_.inFlight.size();
      const BulkCopy copy = cluster_.inFlight[which];
      cluster_.inFlight.erase(cluster_.inFlight.begin() + which);
      landBulkCopy(copy);
      continue;
    }
    if (count == 0) reportDeadlock();
    Warp& warp = *ready[random.next() % count];
    rotation_ = random.next() & 31;
    descending_ = random.next() & 1;
    turnLeft_ = random.next() % temper_.preemptOneIn == 0 ? static_cast<long>(1 + random.next() % 96) : 1L << 60;
    switchFrom(host_, nextLane(warp));
    if (failed_) throw LaunchFailed{};
  }
}

void Machine::finishCluster() {
  acquire(&endSync_);
  acquire(&cluster_.engineSync);
  for (const BulkCopy& copy : cluster_.inFlight)
    failLaunch(std::string("a block ended while a TMA ") + (copy.kind == BulkCopy::Kind::load ? "load into" : "store from") +
               " its shared memory was under way (issued at " + copy.place.file_name() + ":" + std::to_string(copy.place.line()) + ").");
  for (const Block& block : cluster_.blocks)
    if (const std::string incomplete = incompleteRegisterChange(block); !incomplete.empty()) failLaunch(incomplete);
#if !defined(SIMT_ASAN)
  for (const Block& block : cluster_.blocks)
    for (size_t byte = 0; byte < sharedGuardBytes; ++byte)
      if (block.sharedMemory[block.sharedBytes + byte] != guardByte)
        failLaunch("block (" + std::to_string(block.index.x) + "," + std::to_string(block.index.y) + "," + std::to_string(block.index.z) +
                   ") wrote past the end of its " + std::to_string(block.sharedBytes) + " bytes of dynamic shared memory, at byte " +
                   std::to_string(block.sharedBytes + byte) + ".");
#endif
  if (launch->clusterSize > 1) checkStaticShared();
}

bool Machine::run(const Launch& toRun) {
  Quiet quiet;
  prepareFibers();
  launch = &toRun;
  staticShared = &sharedVariables(toRun.kernel);
  gridDim = toRun.grid;
  blockDim = toRun.block;
  random.seed(seed + 0x9E3779B97F4A7C15u * ++counters.launches);
  adoptHostThread(host_);
  failed_ = false;

  const unsigned threads = toRun.block.x * toRun.block.y * toRun.block.z * toRun.clusterSize;
  while (threads_.size() < threads) {
    threads_.push_back(std::make_unique<Thread>());
    prepareFiber(threads_.back()->context, fiberMain);
  }
  const dim3 clusters = {toRun.grid.x / toRun.clusterShape.x, toRun.grid.y / toRun.clusterShape.y, toRun.grid.z / toRun.clusterShape.z};
  const uint64_t count = uint64_t{clusters.x} * clusters.y * clusters.z;
  std::vector<uint64_t> order(count);
  for (uint64_t i = 0; i < count; ++i) order[i] = i;
  for (uint64_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.next() % i]);

  bool succeeded = true;
  isolation.begin(count, random);
  if (observer) observer->launchBegins(toRun);
  try {
    for (const uint64_t which : order) {
      prepareCluster({static_cast<unsigned>(which % clusters.x) * toRun.clusterShape.x,
                      static_cast<unsigned>(which / clusters.x % clusters.y) * toRun.clusterShape.y,
                      static_cast<unsigned>(which / (uint64_t{clusters.x} * clusters.y)) * toRun.clusterShape.z});
      runCluster();
      finishCluster();
      if (observer) observer->clusterEnds(cluster_);
      if (const std::string conflict = isolation.endCluster(); !conflict.empty()) failLaunch(conflict);
      counters.blocks += toRun.clusterSize;
      counters.threads += threads;
    }
  } catch (const LaunchFailed&) {
    succeeded = false;
    // These fibers stand somewhere in the kernel; they start anew.
    for (unsigned i = 0; i < threads; ++i) {
      if (threads_[i]->wait == Wait::finished) continue;
      releaseAs(threads_[i]->context, host_, &endSync_);
      prepareFiber(threads_[i]->context, fiberMain);
    }
    acquire(&endSync_);
    acquire(&cluster_.engineSync);
  }
  if (observer) observer->launchEnds();
  isolation.end();
  for (unsigned char*& memory : sharedBlocks_) {
    std::free(memory);
    memory = nullptr;
  }
  currentThread = nullptr;
  launch = nullptr;
  return succeeded;
}

void Machine::reportDeadlock() {
  // One clause for each different wait of the first block that is stuck.
  std::ostringstream text;
  text << "deadlock";
  int clauses = 0;
  for (Block& block : cluster_.blocks) {
    std::vector<std::string> seen;
    for (Warp& warp : block.warps)
      for (Thread* thread : warp.lanes) {
        if (!thread || thread->wait == Wait::finished || thread->wait == Wait::none) continue;
        currentThread = thread;
        const std::string wait = describeWait(*thread);
        if (std::find(seen.begin(), seen.end(), wait) != seen.end() || ++clauses > 6) continue;
        seen.push_back(wait);
        text << (clauses == 1 ? ": " : "; ") << "block (" << block.index.x << "," << block.index.y << "," << block.index.z << ") thread ("
             << thread->index.x << "," << thread->index.y << "," << thread->index.z << ") waits " << wait;
      }
  }
  currentThread = nullptr;
  text << ".";
  failLaunch(text.str());
}

}  // namespace

bool runLaunch(const Launch& launch) {
  noteKernel(launch.kernel);
  return machine.run(launch);
}

const char* nameOfKernel(const void* kernel) { return functionName(kernel).c_str(); }
const char* kernelName() { return machine.launch ? nameOfKernel(machine.launch->kernel) : "(none)"; }

void acquireBegin() { machine.acquireBegin(); }

void park(Thread& thread, Wait wait, const char* name, const void* object, const Place& place) {
  thread.wait = wait;
  thread.waitName = name;
  thread.waitObject = object;
  thread.place = place;
  machine.park(thread);
  thread.wait = Wait::none;
}

void yieldThread(Thread& thread) { machine.yield(thread); }

uint64_t randomBits() { return machine.random.next(); }

void endIsolation() { machine.isolation.end(); }

bool inSharedMemory(const Block& block, const void* address, size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(address);
  if (byte >= block.sharedMemory && byte + bytes <= block.sharedMemory + block.sharedBytes) return true;
  // The last variable that does not begin behind the address.
  const auto& variables = *machine.staticShared;
  const auto behind =
      std::upper_bound(variables.begin(), variables.end(), byte, [](const auto* at, const auto& one) { return at < one.address; });
  return behind != variables.begin() && byte + bytes <= behind[-1].address + behind[-1].bytes;
}

std::string describeAddress(const void* address) {
  std::ostringstream text;
  const auto* byte = static_cast<const unsigned char*>(address);
  if (currentThread && currentThread->block) {
    const Block& block = *currentThread->block;
    if (byte >= block.sharedMemory && byte <= block.sharedMemory + block.sharedBytes) {
      text << "dynamic shared memory + " << byte - block.sharedMemory;
      return text.str();
    }
  }
  for (const SharedVariable& variable : *machine.staticShared)
    if (byte >= variable.address && byte < variable.address + variable.bytes) {
      text << variable.name << " + " << byte - variable.address;
      return text.str();
    }
  text << address;
  return text.str();
}

void fail(const Place& place, const std::string& what) {
  Quiet quiet;
  if (!currentThread) failLaunch(what);
  const Thread& thread = *currentThread;
  const uint3& block = thread.block->index;
  std::ostringstream text;
  text << "kernel " << kernelName() << ": block (" << block.x << "," << block.y << "," << block.z << ") thread (" << thread.index.x << ","
       << thread.index.y << "," << thread.index.z << ")";
  if (place.line()) text << " at " << place.file_name() << ":" << place.line();
  text << ": " << what;
  recordFailure(text.str());
  throw LaunchFailed{};
}

void failLaunch(const std::string& what) {
  recordFailure(std::string("kernel ") + kernelName() + ": " + what);
  throw LaunchFailed{};
}

void setSeed(uint64_t seed) {
  machine.seed = seed;
  machine.counters.launches = 0;
}

Counters counters() { return machine.counters; }

}  // namespace repa::simt
