// The CPU as a device: one executor thread that runs the queue in order, each operation parallel inside on the pool.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "core/device.h"

namespace repa {

class CpuDevice final : public Device {
 public:
  /// The process's CPU device, made at first use with REPA_THREADS threads (default: the cores this process may use).
  /// Never destroyed: its threads outlive every JS environment, so a worker thread that ends takes nothing away.
  static CpuDevice& instance();

  std::string name() const override { return "cpu"; }
  Allocator& allocator() override { return allocator_; }
  void upload(void* to, const void* from, int64_t bytes) override;
  void download(void* to, const void* from, int64_t bytes, std::function<void(const std::string&)> done) override;
  void whenIdle(std::function<void(const std::string&)> done) override;
  void profile(bool on) override;
  std::map<std::string, OperationCost> costs() override;
  void fail(const std::string& sentence) override;
  void reset() override;

  /// Enqueues work under the operation's name. An exception in it marks the device failed: later work is skipped and every
  /// wait is told, until reset().
  void enqueue(const char* operation, std::function<void(ThreadPool&)> work);

  int threads() const { return pool_.threads(); }

 private:
  class SystemMemory final : public Allocator::Source {
   public:
    explicit SystemMemory(CpuDevice& device) : device_(device) {}
    void* take(int64_t bytes) override;
    void give(void* block, int64_t bytes) override;
    void waitForQueue() override;

   private:
    CpuDevice& device_;
  };

  struct Task {
    const char* operation;
    std::function<void(ThreadPool&)> work;
    std::function<void(const std::string&)> done;  // set for waits, which run even when the device has failed
  };

  explicit CpuDevice(int threads);
  void push(Task task);
  void run();

  SystemMemory memory_;
  Allocator allocator_;
  ThreadPool pool_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> queue_;
  std::string failure_;  // this and what follows guarded by mutex_
  bool profiling_ = false;
  std::map<std::string, OperationCost> costs_;
  std::thread executor_;
};

}  // namespace repa
