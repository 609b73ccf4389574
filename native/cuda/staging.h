// Host memory on its way to the GPU and back.
//
// The GPU copies from and to page-locked memory only without stopping the caller. An upload therefore goes
//     caller's bytes -> page-locked block -> (copy stream) device block -> (compute stream) destination:
// the copy over the bus overlaps with kernels that were enqueued before it, which may still read the destination, and only the
// last, device-internal copy takes its turn in the queue. A download goes
//     source -> (compute stream) page-locked block -> (waiting thread) caller's bytes.
//
// Both go in pieces through rings of blocks, which are made when they are needed and stay: for uploads at most 256 MiB on the device and 260 of
// page-locked memory, for downloads 68 of that. It is outside of what an allocator counts. Whoever wants more under way waits: an upload for
// the GPU, a download for the thread that takes its bytes out.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "core/function_ref.h"
#include "cuda/block_ring.h"
#include "cuda/handles.h"

namespace repa {

class Staging {
  struct DownloadBlock {
    char* pinned = nullptr;
    int64_t used = 0;
    int64_t underWay = 0;  // pieces that have not been taken out
  };

 public:
  /// A part of a download.
  struct Piece {
    void* to;
    int64_t bytes;
    bool isLast;
    const char* pinned;
    DownloadBlock* block;
  };

  /// `takeDeviceMemory` gives device memory that the compute stream has no more use for, or throws.
  void open(std::function<void*(int64_t bytes)> takeDeviceMemory);

  /// Enqueues a copy of host bytes, which stay valid only during the call, to device memory, behind what `stream` has been given.
  void upload(cudaStream_t stream, void* to, const void* from, int64_t bytes);

  /// Enqueues copies of device memory, behind what `stream` has been given, to page-locked memory, and calls `enqueued` after each: the
  /// piece is to be taken out by another thread once its copy has run, or could not.
  void download(cudaStream_t stream, void* to, const void* from, int64_t bytes, FunctionRef<void(const Piece& piece)> enqueued);
  /// Copies a piece to where it belongs, and gives its room back.
  void takeOut(const Piece& piece);

 private:
  struct UploadBlock {
    char* pinned = nullptr;
    char* device = nullptr;  // null where the compute stream copies
    int64_t used = 0;
    cudaEvent_t consumed = nullptr;  // the last piece
  };

  /// Of at most so many bytes an upload is copied by the compute stream itself, for the detour would cost more. What is small has blocks of
  /// its own: a process that passes numbers takes little memory.
  static constexpr int64_t kSmall = 64 << 10;
  static constexpr int64_t kSmallBlock = 1 << 20;
  static constexpr size_t kSmallBlocks = 4;
  /// The bus is at its rate with pieces of a few MiB.
  static constexpr int64_t kBlock = 8 << 20;
  /// A step's images wait here while the GPU makes the step before: 256 of 512 x 512 pixels are 192 MiB. What did not fit would cross the bus
  /// only when that step has ended.
  static constexpr size_t kUploadBlocks = 32;
  static constexpr size_t kDownloadBlocks = 8;

  BlockRing<UploadBlock>::Piece takeForUpload(bool isSmall, int64_t bytes);
  std::unique_ptr<UploadBlock> newUploadBlock(bool isSmall);
  BlockRing<DownloadBlock>::Piece takeForDownload(BlockRing<DownloadBlock>& ring, int64_t bytes);
  void giveBack(DownloadBlock& block);

  std::function<void*(int64_t bytes)> takeDeviceMemory_;
  std::mutex uploading_;  // guards what follows
  cudaStream_t copies_ = nullptr;
  cudaEvent_t arrived_ = nullptr;  // the last piece, on the device
  BlockRing<UploadBlock> smallUploads_{kSmallBlock, kSmallBlocks}, uploads_{kBlock, kUploadBlocks};
  std::mutex downloading_;  // guards what follows
  BlockRing<DownloadBlock> smallDownloads_{kSmallBlock, kSmallBlocks}, downloads_{kBlock, kDownloadBlocks};
  std::mutex takingOut_;  // guards the blocks' underWay
  std::condition_variable takenOut_;
};

}  // namespace repa
