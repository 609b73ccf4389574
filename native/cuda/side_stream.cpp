#include "cuda/side_stream.h"

#include <cuda_runtime.h>

#include "cuda/check.h"

namespace repa::cuda {

SideStream::SideStream() {
  try {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
    for (cudaEvent_t* event : {&forked_, &joined_}) check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "make an event");
  } catch (...) {
    destroy();
    throw;
  }
}

SideStream::~SideStream() { destroy(); }

void SideStream::destroy() {
  for (const cudaEvent_t event : {forked_, joined_})
    if (event) cudaEventDestroy(event);
  if (stream_) cudaStreamDestroy(stream_);
}

void SideStream::forkFrom(cudaStream_t queue) {
  check(cudaEventRecord(forked_, queue), "record an event");
  check(cudaStreamWaitEvent(stream_, forked_, 0), "let a stream wait");
  isForked_ = true;
}

void SideStream::joinTo(cudaStream_t queue) {
  if (!isForked_) return;
  check(cudaEventRecord(joined_, stream_), "record an event");
  check(cudaStreamWaitEvent(queue, joined_, 0), "let a stream wait");
  isForked_ = false;
}

}  // namespace repa::cuda
