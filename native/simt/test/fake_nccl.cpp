// A libnccl for machines without a GPU: the functions of cuda/nccl_api.h with the same C ABI, on the shim's streams and memory, between processes
// of one machine. Sums are made from the last rank to the first: an order that a caller may not rely on. What it refuses, the real library
// refuses too: a rank that came twice, types and operations that were not asked for, calls outside a group of those that stand in one.
// Processes whose calls are not the same, or not of one order, end with a sentence; with the real one they would wait, or take the one's numbers
// for the other's. Every call begins REPA_FAKE_NCCL_DELAY microseconds late, so that what should have waited for it does not find it done.
// A communicator waits to be destroyed for the graphs that its calls are captured in. REPA_FAKE_NCCL_BREAKS milliseconds after it was made its
// network has failed, for whoever asks: its calls go on waiting.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/nccl_api.h"
#include "simt/stream.h"

namespace {

using namespace repa::cuda;

constexpr ncclResult_t kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6;
constexpr size_t kSlotFloats = 1 << 14;
constexpr int kMostProcesses = 8;

using Write = void (*)(const repa::simt::Task& part);

/// What a call asks of all processes alike.
struct Call {
  char name[16];
  uint64_t count;
  int root;  // -1 of a call that has none
};

/// What a file of zeros becomes.
struct Shared {
  std::atomic<uint32_t> joined[kMostProcesses];
  std::atomic<uint32_t> arrived, generation;
  Call calls[kMostProcesses];
  float slots[kMostProcesses][kSlotFloats];
};

struct Group {
  Shared* shared = nullptr;
  int rank = 0, size = 0;
  std::atomic<bool> aborted = false;
  const std::chrono::steady_clock::time_point made = std::chrono::steady_clock::now();
  std::mutex mutex;
  std::condition_variable changed;
  int captured = 0;  // calls that graphs hold, guarded by mutex

  ~Group() { munmap(shared, sizeof *shared); }

  /// Whether all came; false once this process has given up.
  bool barrier() {
    // What it has counted before it gave up would be taken for the others.
    if (aborted) return false;
    const uint32_t generation = shared->generation.load();
    if (shared->arrived.fetch_add(1) + 1 == static_cast<uint32_t>(size)) {
      shared->arrived.store(0);
      shared->generation.fetch_add(1);
      return true;
    }
    while (shared->generation.load() == generation) {
      if (aborted) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return true;
  }

  /// The sum of all slots, from the last rank to the first.
  void addSlots(float* to, size_t floats) const {
    for (size_t i = 0; i < floats; ++i) {
      float sum = 0;
      for (int other = size - 1; other >= 0; --other) sum += shared->slots[other][i];
      to[i] = sum;
    }
  }

  /// Once every process is at this call; false once this one has given up.
  bool meet(const char* name, size_t count, int root) {
    static const char* const delay = std::getenv("REPA_FAKE_NCCL_DELAY");
    if (delay) std::this_thread::sleep_for(std::chrono::microseconds(std::atoi(delay)));
    Call& own = shared->calls[rank];
    std::snprintf(own.name, sizeof own.name, "%s", name);
    own.count = count;
    own.root = root;
    if (!barrier()) return false;
    for (int other = 0; other < size; ++other) {
      const Call& its = shared->calls[other];
      if (std::strcmp(its.name, own.name) == 0 && its.count == own.count && its.root == own.root) continue;
      std::fprintf(stderr, "fake NCCL: process %d calls %s of %zu elements with root %d, and process %d calls %s of %zu with root %d.\n", rank, own.name,
                   static_cast<size_t>(own.count), own.root, other, its.name, static_cast<size_t>(its.count), its.root);
      std::_Exit(70);
    }
    return barrier();
  }

  /// For every slotful of `count` floats: shows the others what `send` has, and runs receive(floats from `begin` on, their number), which writes to
  /// the device.
  void exchange(Write write, size_t count, const float* send, const std::function<void(size_t begin, size_t floats)>& receive) {
    for (size_t begin = 0; begin < count; begin += kSlotFloats) {
      const size_t floats = std::min(kSlotFloats, count - begin);
      std::memcpy(shared->slots[rank], send + begin, floats * sizeof(float));
      if (!barrier()) return;
      write([&] { receive(begin, floats); });
      if (!barrier()) return;
    }
  }
};

/// What a captured call holds for as long as its graph is there.
std::shared_ptr<void> heldByGraph(const std::shared_ptr<Group>& group, cudaStream_t stream) {
  if (!stream->capture) return nullptr;
  {
    const std::lock_guard lock(group->mutex);
    ++group->captured;
  }
  return {nullptr, [group](void*) {
            const std::lock_guard lock(group->mutex);
            --group->captured;
            group->changed.notify_all();
          }};
}

std::shared_ptr<Group>& groupOf(ncclComm_t communicator) { return *reinterpret_cast<std::shared_ptr<Group>*>(communicator); }

thread_local int depth = 0;
thread_local std::vector<std::function<void()>> grouped;

ncclResult_t enqueue(cudaStream_t stream, std::function<void()> task) {
  if (depth == 0) stream->enqueue(std::move(task));
  else grouped.push_back([stream, task = std::move(task)] { stream->enqueue(task); });
  return ncclSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof *id);
  std::strcpy(id->internal, "/tmp/fake-nccl-XXXXXX");
  const int file = mkstemp(id->internal);
  if (file < 0) return kSystemError;
  const bool sized = ftruncate(file, sizeof(Shared)) == 0;
  close(file);
  return sized ? ncclSuccess : kSystemError;
}

ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int size, ncclUniqueId id, int rank) {
  if (size < 1 || size > kMostProcesses || rank < 0 || rank >= size) return kInvalidArgument;
  const int file = open(id.internal, O_RDWR);
  if (file < 0) return kSystemError;
  void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  auto group = std::make_shared<Group>();
  group->shared = static_cast<Shared*>(memory);
  group->rank = rank;
  group->size = size;
  if (group->shared->joined[rank].exchange(1) != 0) return kInvalidUsage;
  group->barrier();
  if (rank == 0) unlink(id.internal);
  *communicator = reinterpret_cast<ncclComm_t>(new std::shared_ptr<Group>(std::move(group)));
  return ncclSuccess;
}

/// As the real one, it waits until no graph holds a call of the communicator, after an abort too (NCCL's commDestroySync).
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  {
    const std::shared_ptr<Group> group = groupOf(communicator);
    std::unique_lock lock(group->mutex);
    group->changed.wait(lock, [&] { return group->captured == 0; });
  }
  delete &groupOf(communicator);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  groupOf(communicator)->aborted = true;
  return ncclCommDestroy(communicator);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* error) {
  static const char* const breaks = std::getenv("REPA_FAKE_NCCL_BREAKS");
  const auto age = std::chrono::steady_clock::now() - groupOf(communicator)->made;
  *error = breaks && age > std::chrono::milliseconds(std::atoi(breaks)) ? kRemoteError : ncclSuccess;
  return ncclSuccess;
}

const char* ncclGetLastError(ncclComm_t) { return "a cable is out"; }

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, int type, int operation, ncclComm_t communicator, cudaStream_t stream) {
  if (!send || !receive || type != ncclFloat32 || operation != ncclSum) return kInvalidArgument;
  return enqueue(stream, [group = groupOf(communicator), held = heldByGraph(groupOf(communicator), stream), from = static_cast<const float*>(send),
                          to = static_cast<float*>(receive), count, write = stream->writingToDevice] {
    if (!group->meet("AllReduce", count, -1)) return;
    group->exchange(write, count, from, [&](size_t begin, size_t floats) {
      group->addSlots(to + begin, floats);
    });
  });
}

ncclResult_t ncclReduce(const void* send, void* receive, size_t count, int type, int operation, int root, ncclComm_t communicator, cudaStream_t stream) {
  if (!send || !receive || type != ncclFloat32 || operation != ncclSum || root < 0 || root >= groupOf(communicator)->size) return kInvalidArgument;
  return enqueue(stream, [group = groupOf(communicator), held = heldByGraph(groupOf(communicator), stream), from = static_cast<const float*>(send),
                          to = static_cast<float*>(receive), count, root, write = stream->writingToDevice] {
    if (!group->meet("Reduce", count, root)) return;
    group->exchange(write, count, from, [&](size_t begin, size_t floats) {
      if (group->rank == root) group->addSlots(to + begin, floats);
    });
  });
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t countOfShare, int type, ncclComm_t communicator, cudaStream_t stream) {
  if (!send || !receive || (type != ncclFloat32 && type != ncclFloat64)) return kInvalidArgument;
  const size_t floatsOfShare = countOfShare * (type == ncclFloat64 ? 2 : 1);
  return enqueue(stream, [group = groupOf(communicator), held = heldByGraph(groupOf(communicator), stream), from = static_cast<const float*>(send),
                          to = static_cast<float*>(receive), floatsOfShare, write = stream->writingToDevice] {
    if (!group->meet("AllGather", floatsOfShare, -1)) return;
    group->exchange(write, floatsOfShare, from, [&](size_t begin, size_t floats) {
      for (int owner = 0; owner < group->size; ++owner)
        std::memcpy(to + owner * floatsOfShare + begin, group->shared->slots[owner], floats * sizeof(float));
    });
  });
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, int type, int root, ncclComm_t communicator, cudaStream_t stream) {
  if (!send || !receive || (type != ncclFloat32 && type != ncclFloat64) || root < 0 || root >= groupOf(communicator)->size) return kInvalidArgument;
  const size_t floatsOfAll = count * (type == ncclFloat64 ? 2 : 1);
  return enqueue(stream, [group = groupOf(communicator), held = heldByGraph(groupOf(communicator), stream), from = static_cast<const float*>(send),
                          to = static_cast<float*>(receive), floatsOfAll, root, write = stream->writingToDevice] {
    if (!group->meet("Broadcast", floatsOfAll, root)) return;
    group->exchange(write, floatsOfAll, from,
                    [&](size_t begin, size_t floats) { std::memcpy(to + begin, group->shared->slots[root], floats * sizeof(float)); });
  });
}

ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (depth == 0) return kInvalidUsage;
  if (--depth > 0) return ncclSuccess;
  for (const auto& call : std::exchange(grouped, {})) call();
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case kSystemError: return "unhandled system error";
    case kInvalidArgument: return "invalid argument";
    case kInvalidUsage: return "invalid usage";
    case kRemoteError: return "remote process exited or there was a network error";
    default: return "unknown result code";
  }
}

}  // extern "C"
#pragma GCC visibility pop
