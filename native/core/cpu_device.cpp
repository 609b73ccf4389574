#include "core/cpu_device.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>

#include "core/error.h"
#include "core/process_memory.h"
#include "core/start_thread.h"
#include "core/usable_cores.h"

namespace repa {

namespace {

int threadsFromEnvironment() {
  const char* text = std::getenv("REPA_THREADS");
  if (!text || !*text) return usableCores();
  char* end = nullptr;
  const long threads = std::strtol(text, &end, 10);
  if (*end != '\0' || threads < 1 || threads > 1024)
    throw Error(ErrorCode::invalidArgument, std::string("REPA_THREADS is \"") + text + "\"; expected a whole number from 1 to 1024.");
  return static_cast<int>(threads);
}

/// Of tensors: what is in memory already counts too where the system counts.
int64_t memoryLimit() { return std::max<int64_t>(0, memoryOfProcess() - residentBytes()); }

constexpr int64_t kHugePage = 2 << 20;

}  // namespace

CpuDevice& CpuDevice::instance() {
  static CpuDevice* device = new CpuDevice(threadsFromEnvironment());
  return *device;
}

CpuDevice::CpuDevice(int threads) : memory_(*this), allocator_(memory_, memoryLimit()), pool_(threads), executor_(startThread("the CPU device's queue", [this] { run(); })) {}

void CpuDevice::push(Task task) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void CpuDevice::enqueue(const char* operation, std::function<void(ThreadPool&)> work) { push({operation, std::move(work), nullptr}); }

void CpuDevice::whenIdle(std::function<void(const std::string&)> done) { push({"wait", nullptr, std::move(done)}); }

void CpuDevice::upload(void* to, const void* from, int64_t bytes) {
  // Nothing may have no address, which memcpy forbids even for no bytes.
  if (bytes == 0) return;
  // The destination may still be read by enqueued work, so the bytes wait in a buffer of their own.
  std::shared_ptr<char[]> staged(new char[static_cast<size_t>(bytes)]);
  std::memcpy(staged.get(), from, static_cast<size_t>(bytes));
  enqueue("upload", [to, staged, bytes](ThreadPool&) { std::memcpy(to, staged.get(), static_cast<size_t>(bytes)); });
}

void CpuDevice::download(void* to, const void* from, int64_t bytes, std::function<void(const std::string&)> done) {
  if (bytes > 0) enqueue("download", [to, from, bytes](ThreadPool&) { std::memcpy(to, from, static_cast<size_t>(bytes)); });
  whenIdle(std::move(done));
}

void CpuDevice::profile(bool on) {
  std::lock_guard lock(mutex_);
  profiling_ = on;
  if (on) costs_.clear();
}

std::map<std::string, OperationCost> CpuDevice::costs() {
  std::lock_guard lock(mutex_);
  return costs_;
}

void CpuDevice::fail(const std::string& sentence) {
  std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = sentence;
}

void CpuDevice::reset() {
  std::lock_guard lock(mutex_);
  failure_.clear();
}

void CpuDevice::run() {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "repa-cpu");
#endif
  for (;;) {
    Task task;
    std::string failure;
    bool profiling = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty(); });
      task = std::move(queue_.front());
      queue_.pop_front();
      failure = failure_;
      profiling = profiling_;
    }
    if (task.done) {
      task.done(failure);
    } else if (failure.empty()) {
      std::string thrown;
      const auto began = std::chrono::steady_clock::now();
      try {
        task.work(pool_);
      } catch (const std::exception& error) {
        thrown = error.what();
      } catch (...) {
        thrown = "an unknown error";
      }
      if (profiling) {
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        std::lock_guard lock(mutex_);
        OperationCost& cost = costs_[task.operation];
        ++cost.calls;
        cost.seconds += took.count();
      }
      if (!thrown.empty()) fail(std::string(task.operation) + " failed on the CPU device: " + thrown);
    }
  }
}

void* CpuDevice::SystemMemory::take(int64_t bytes) {
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : 64;
  const size_t size = (static_cast<size_t>(bytes) + alignment - 1) / alignment * alignment;
  void* block = std::aligned_alloc(alignment, size);
#if defined(__linux__)
  if (block && huge) madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

void CpuDevice::SystemMemory::give(void* block, int64_t) { std::free(block); }

void CpuDevice::SystemMemory::waitForQueue() {
  std::promise<void> idle;
  device_.whenIdle([&](const std::string&) { idle.set_value(); });
  idle.get_future().wait();
}

}  // namespace repa
