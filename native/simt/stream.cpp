#include "simt/stream.h"

namespace {

/// How much a stream takes before whoever gives it more waits: a chip's has room for about a thousand launches.
constexpr size_t kQueued = 1000;

}  // namespace

CUstream_st::CUstream_st() : worker_([this] { work(); }) {}

CUstream_st::~CUstream_st() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void CUstream_st::enqueue(repa::simt::Task task) {
  {
    std::unique_lock lock(mutex_);
    if (CUgraph_st* const graph = capture) {
      std::lock_guard lockGraph(graph->mutex);
      graph->tasks.push_back(std::move(task));
      ++graph->before[this][this];
      return;
    }
    changed_.wait(lock, [this] { return queue_.size() < kQueued; });
    queue_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void CUstream_st::leaveCapture() {
  std::lock_guard lock(mutex_);
  capture = nullptr;
}

void CUstream_st::waitUntilIdle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool CUstream_st::idle() {
  std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

void CUstream_st::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !queue_.empty() || closing_; });
    if (queue_.empty()) return;
    {
      repa::simt::Task task = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      task();
    }
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}
