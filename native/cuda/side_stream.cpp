#include "cuda/side_stream.h"

#include <cuda_runtime.h>

#include <map>
#include <mutex>

#include "cuda/check.h"

namespace repa::cuda {

namespace {

/// How many streams of each GPU are forked.
struct Forked {
  std::mutex mutex;
  std::map<int, int> byOrdinal;  // guarded by mutex
};

/// Never destroyed, for a stream may outlive what is destroyed at the process's end.
Forked& forked() {
  static auto& all = *new Forked;
  return all;
}

int currentOrdinal() {
  int ordinal = 0;
  check(cudaGetDevice(&ordinal), "say which device is current");
  return ordinal;
}

}  // namespace

SideStream::SideStream() {
  try {
    ordinal_ = currentOrdinal();
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "say which priorities there are");
    check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "make a stream");
    for (cudaEvent_t* event : {&forked_, &joined_}) check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "make an event");
  } catch (...) {
    destroy();
    throw;
  }
}

SideStream::~SideStream() { destroy(); }

void SideStream::destroy() {
  setForked(false);
  for (const cudaEvent_t event : {forked_, joined_})
    if (event) cudaEventDestroy(event);
  if (stream_) cudaStreamDestroy(stream_);
}

void SideStream::forkFrom(cudaStream_t queue) {
  check(cudaEventRecord(forked_, queue), "record an event");
  check(cudaStreamWaitEvent(stream_, forked_, 0), "let a stream wait");
  setForked(true);
}

void SideStream::joinTo(cudaStream_t queue) {
  if (!isForked_) return;
  check(cudaEventRecord(joined_, stream_), "record an event");
  check(cudaStreamWaitEvent(queue, joined_, 0), "let a stream wait");
  setForked(false);
}

bool SideStream::isAnyForked() {
  const int ordinal = currentOrdinal();
  const std::lock_guard lock(forked().mutex);
  return forked().byOrdinal[ordinal] > 0;
}

void SideStream::setForked(bool isForked) {
  if (isForked == isForked_) return;
  isForked_ = isForked;
  const std::lock_guard lock(forked().mutex);
  forked().byOrdinal[ordinal_] += isForked ? 1 : -1;
}

}  // namespace repa::cuda
