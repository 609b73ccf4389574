// Streams, events and graphs: a stream is a queue with a host thread of its own, so that what CUDA leaves asynchronous is so here.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "simt/runtime_api.h"

namespace repa::simt {

/// How many of a graph's tasks, by the stream that each was captured from, come before a point of it.
using CapturedBefore = std::map<CUstream_st*, size_t>;

/// One record of an event.
struct EventRecord {
  bool reached = false;
  double milliseconds = 0;
  CUgraph_st* capture = nullptr;  // recorded while capturing: a fork or a join, not a point in time
  CapturedBefore before;          // then
};

using Task = std::function<void()>;

}  // namespace repa::simt

struct CUgraph_st {
  std::mutex mutex;                     // guards tasks and before during the capture
  std::vector<repa::simt::Task> tasks;  // in an order that respects every edge: the order of capture
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  CUstream_st* origin = nullptr;
  std::map<CUstream_st*, repa::simt::CapturedBefore> before;  // what the next task of each stream that captures into it comes behind
  std::atomic<bool> invalidated = false;                      // by a call that may not be made meanwhile
};

struct CUgraphExec_st {
  std::vector<repa::simt::Task> tasks;
};

struct CUstream_st {
  CUstream_st();
  ~CUstream_st();

  /// Appends to the queue, or to the graph that is being captured.
  void enqueue(repa::simt::Task task);
  /// From then on enqueue() appends to the queue.
  void leaveCapture();
  void waitUntilIdle();
  bool idle();

  /// Ended when no thread enqueues into it any more, as CUDA asks.
  std::atomic<CUgraph_st*> capture = nullptr;
  /// Runs a task's part that writes to the device's memory while no launch looks at all of it (isolation.h): for what stands in for a library of
  /// NVIDIA's, which has the queue's code alone. Null of a stream that the runtime API has not made.
  void (*writingToDevice)(const repa::simt::Task& part) = nullptr;

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<repa::simt::Task> queue_;
  bool busy_ = false;
  bool closing_ = false;
  std::thread worker_;
};

struct CUevent_st {
  bool timed = true;
  std::shared_ptr<repa::simt::EventRecord> record;  // the latest; null before the first
};
