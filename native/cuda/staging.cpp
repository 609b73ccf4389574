#include "cuda/staging.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "cuda/check.h"

namespace repa {

namespace {

/// Few distinct sizes, so that slots are found again.
int64_t slotBytes(int64_t bytes) { return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 4096)))); }

/// Of one size: as many slots as it takes for this many bytes under way, and at least so many. A step that runs ahead of the GPU by two
/// finds slots without a wait; a model whose tensors are uploaded one after another does not end up in page-locked memory whole.
constexpr int64_t kBytesInFlight = int64_t{64} << 20;
constexpr int64_t kLeastInFlight = 4;

/// Pinned blocks for downloads that are kept, at most; more are given back to the system.
constexpr size_t kKeptPinned = 16;

void* takeHostMemory(int64_t bytes) {
  void* block = nullptr;
  cuda::check(cudaMallocHost(&block, static_cast<size_t>(bytes)), "page-lock host memory for a copy");
  return block;
}

}  // namespace

void Staging::open(std::function<void*(int64_t bytes)> takeDeviceMemory) {
  takeDeviceMemory_ = std::move(takeDeviceMemory);
  cuda::check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "make a stream");
}

Staging::Slot& Staging::freeSlot(int64_t bytes) {
  const int64_t size = slotBytes(bytes);
  Slot* oldest = nullptr;
  int64_t inFlight = 0;
  for (Slot& slot : slots_) {
    if (slot.bytes != size) continue;
    if (cudaEventQuery(slot.consumed) == cudaSuccess) return slot;
    ++inFlight;
    if (!oldest || slot.upload < oldest->upload) oldest = &slot;
  }
  // cudaErrorNotReady of the queries above is no failure.
  cudaGetLastError();
  if (inFlight >= kLeastInFlight && inFlight * size >= kBytesInFlight) {
    cuda::check(cudaEventSynchronize(oldest->consumed), "wait for an earlier upload");
    return *oldest;
  }
  return slots_.emplace_back(newSlot(size));
}

Staging::Slot Staging::newSlot(int64_t size) {
  Slot slot{};
  slot.bytes = size;
  slot.pinned = takeHostMemory(size);
  try {
    if (size > kSmall) slot.device = takeDeviceMemory_(size);
    cuda::check(cudaEventCreateWithFlags(&slot.arrived, cudaEventDisableTiming), "make an event");
    cuda::check(cudaEventCreateWithFlags(&slot.consumed, cudaEventDisableTiming), "make an event");
  } catch (...) {
    for (cudaEvent_t event : {slot.arrived, slot.consumed})
      if (event) cudaEventDestroy(event);
    cudaFree(slot.device);
    cudaFreeHost(slot.pinned);
    throw;
  }
  return slot;
}

void Staging::upload(cudaStream_t stream, void* to, const void* from, int64_t bytes) {
  std::lock_guard lock(mutex_);
  const size_t size = static_cast<size_t>(bytes);
  Slot& slot = freeSlot(bytes);
  slot.upload = nextUpload_++;
  std::memcpy(slot.pinned, from, size);
  if (bytes <= kSmall) {
    cuda::check(cudaMemcpyAsync(to, slot.pinned, size, cudaMemcpyHostToDevice, stream), "copy to the device");
  } else {
    cuda::check(cudaMemcpyAsync(slot.device, slot.pinned, size, cudaMemcpyHostToDevice, copies_), "copy to the device");
    cuda::check(cudaEventRecord(slot.arrived, copies_), "record an event");
    cuda::check(cudaStreamWaitEvent(stream, slot.arrived, 0), "order two streams");
    cuda::check(cudaMemcpyAsync(to, slot.device, size, cudaMemcpyDeviceToDevice, stream), "copy to the device");
  }
  cuda::check(cudaEventRecord(slot.consumed, stream), "record an event");
}

void* Staging::takePinned(int64_t bytes) {
  std::lock_guard lock(mutex_);
  const int64_t size = slotBytes(bytes);
  const auto found = std::find_if(pinned_.begin(), pinned_.end(), [&](const Pinned& pinned) { return pinned.bytes == size; });
  if (found == pinned_.end()) return takeHostMemory(size);
  void* block = found->block;
  pinned_.erase(found);
  return block;
}

void Staging::givePinned(void* block, int64_t bytes) {
  std::lock_guard lock(mutex_);
  pinned_.push_back({block, slotBytes(bytes)});
  if (pinned_.size() <= kKeptPinned) return;
  cudaFreeHost(pinned_.front().block);
  pinned_.erase(pinned_.begin());
}

}  // namespace repa
