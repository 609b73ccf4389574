// A stream beside a device's queue, for what may run while the queue goes on.
#pragma once

#include "cuda/handles.h"

namespace repa::cuda {

/// Behind the queue where it is forked, and before it where it is joined: by events, so that a capture of the queue takes it along. A capture
/// that has seen a fork must see a join. Its blocks go first where multiprocessors come free: what waits for them is more than what they hold up.
class SideStream {
 public:
  /// Of the current GPU.
  SideStream();
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  cudaStream_t stream() const { return stream_; }

  /// What is enqueued on the stream from here on waits for all that `queue` was given before.
  void forkFrom(cudaStream_t queue);
  /// What `queue` is given from here on waits for all that was enqueued on the stream since it was forked; nothing where it was not.
  void joinTo(cudaStream_t queue);

  /// Whether any, of the current GPU, is forked and not joined.
  static bool isAnyForked();

 private:
  void destroy();
  void setForked(bool isForked);

  int ordinal_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t forked_ = nullptr, joined_ = nullptr;
  bool isForked_ = false;
};

}  // namespace repa::cuda
