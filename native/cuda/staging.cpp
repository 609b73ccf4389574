#include "cuda/staging.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "cuda/check.h"

namespace repa {

namespace {

char* takeHostMemory(int64_t bytes) {
  void* block = nullptr;
  cuda::check(cudaMallocHost(&block, static_cast<size_t>(bytes)), "page-lock host memory for a copy");
  return static_cast<char*>(block);
}

}  // namespace

void Staging::open(std::function<void*(int64_t bytes)> takeDeviceMemory) {
  takeDeviceMemory_ = std::move(takeDeviceMemory);
  cuda::check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "make a stream");
  cuda::check(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming), "make an event");
}

std::unique_ptr<Staging::UploadBlock> Staging::newUploadBlock(bool isSmall) {
  auto block = std::make_unique<UploadBlock>();
  block->pinned = takeHostMemory(isSmall ? kSmallBlock : kBlock);
  try {
    if (!isSmall) block->device = static_cast<char*>(takeDeviceMemory_(kBlock));
    cuda::check(cudaEventCreateWithFlags(&block->consumed, cudaEventDisableTiming), "make an event");
  } catch (...) {
    cudaFree(block->device);
    cudaFreeHost(block->pinned);
    throw;
  }
  return block;
}

BlockRing<Staging::UploadBlock>::Piece Staging::takeForUpload(bool isSmall, int64_t bytes) {
  const auto isConsumed = [](const UploadBlock& block) {
    const bool happened = cudaEventQuery(block.consumed) == cudaSuccess;
    cudaGetLastError();  // cudaErrorNotReady is no failure
    return happened;
  };
  const auto wait = [](const UploadBlock& block) { cuda::check(cudaEventSynchronize(block.consumed), "wait for an earlier upload"); };
  return (isSmall ? smallUploads_ : uploads_).take(bytes, isConsumed, [&] { return newUploadBlock(isSmall); }, wait);
}

void Staging::upload(cudaStream_t stream, void* to, const void* from, int64_t bytes) {
  std::lock_guard lock(uploading_);
  const bool isSmall = bytes <= kSmall;
  for (int64_t at = 0; at < bytes; at += kBlock) {
    const int64_t length = std::min(bytes - at, kBlock);
    const auto size = static_cast<size_t>(length);
    const auto [block, offset] = takeForUpload(isSmall, length);
    std::memcpy(block->pinned + offset, static_cast<const char*>(from) + at, size);
    const void* source = block->pinned + offset;
    if (block->device) {
      cuda::check(cudaMemcpyAsync(block->device + offset, source, size, cudaMemcpyHostToDevice, copies_), "copy to the device");
      cuda::check(cudaEventRecord(arrived_, copies_), "record an event");
      cuda::check(cudaStreamWaitEvent(stream, arrived_, 0), "order two streams");
      source = block->device + offset;
    }
    cuda::check(cudaMemcpyAsync(static_cast<char*>(to) + at, source, size, block->device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice, stream),
                "copy to the device");
    cuda::check(cudaEventRecord(block->consumed, stream), "record an event");
  }
}

BlockRing<Staging::DownloadBlock>::Piece Staging::takeForDownload(BlockRing<DownloadBlock>& ring, int64_t bytes) {
  const auto isFree = [this](const DownloadBlock& block) {
    std::lock_guard lock(takingOut_);
    return block.underWay == 0;
  };
  const auto make = [&ring] {
    auto block = std::make_unique<DownloadBlock>();
    block->pinned = takeHostMemory(ring.blockBytes());
    return block;
  };
  const auto wait = [this](const DownloadBlock& block) {
    std::unique_lock lock(takingOut_);
    takenOut_.wait(lock, [&] { return block.underWay == 0; });
  };
  const auto piece = ring.take(bytes, isFree, make, wait);
  std::lock_guard lock(takingOut_);
  ++piece.block->underWay;
  return piece;
}

void Staging::giveBack(DownloadBlock& block) {
  {
    std::lock_guard lock(takingOut_);
    --block.underWay;
  }
  takenOut_.notify_all();
}

void Staging::download(cudaStream_t stream, void* to, const void* from, int64_t bytes, FunctionRef<void(const Piece& piece)> enqueued) {
  std::lock_guard lock(downloading_);
  BlockRing<DownloadBlock>& ring = bytes <= kSmall ? smallDownloads_ : downloads_;
  for (int64_t at = 0; at < bytes; at += kBlock) {
    const int64_t length = std::min(bytes - at, kBlock);
    const auto [block, offset] = takeForDownload(ring, length);
    char* const pinned = block->pinned + offset;
    try {
      cuda::check(cudaMemcpyAsync(pinned, static_cast<const char*>(from) + at, static_cast<size_t>(length), cudaMemcpyDeviceToHost, stream),
                  "copy to the host");
    } catch (...) {
      giveBack(*block);
      throw;
    }
    enqueued({.to = static_cast<char*>(to) + at, .bytes = length, .isLast = at + length == bytes, .pinned = pinned, .block = block});
  }
}

void Staging::takeOut(const Piece& piece) {
  std::memcpy(piece.to, piece.pinned, static_cast<size_t>(piece.bytes));
  giveBack(*piece.block);
}

}  // namespace repa
