// Host memory on its way to the GPU and back.
//
// The GPU copies from and to page-locked memory only without stopping the caller. An upload therefore goes
//     caller's bytes -> pinned slot -> (copy stream) device slot -> (compute stream) destination:
// the copy over the bus overlaps with kernels that were enqueued before it, which may still read the destination, and only the
// last, device-internal copy takes its turn in the queue.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "cuda/handles.h"

namespace repa {

class Staging {
 public:
  /// Uploads of at most this many bytes are copied by the compute stream itself: the detour would cost more.
  static constexpr int64_t kSmall = 64 << 10;

  /// `takeDeviceMemory` gives device memory that the compute stream has no more use for, or throws.
  void open(std::function<void*(int64_t bytes)> takeDeviceMemory);

  /// Enqueues a copy of host bytes, which stay valid only during the call, to device memory, behind what `stream` has been given. Waits for
  /// an earlier upload where too many are under way.
  void upload(cudaStream_t stream, void* to, const void* from, int64_t bytes);

  /// Page-locked memory for a download; given back when its bytes have been taken out.
  void* takePinned(int64_t bytes);
  void givePinned(void* block, int64_t bytes);

 private:
  struct Slot {
    void* pinned;
    void* device;  // null where the compute stream copies
    int64_t bytes;
    cudaEvent_t arrived, consumed;
    int64_t upload;  // the last that took it
  };

  Slot& freeSlot(int64_t bytes);
  Slot newSlot(int64_t size);

  std::mutex mutex_;
  cudaStream_t copies_ = nullptr;
  std::function<void*(int64_t bytes)> takeDeviceMemory_;
  std::vector<Slot> slots_;
  int64_t nextUpload_ = 0;
  struct Pinned {
    void* block;
    int64_t bytes;
  };
  std::vector<Pinned> pinned_;
};

}  // namespace repa
