// One GPU as a device: a stream is the queue. Host code enqueues kernels and never waits for them; a thread of its own waits
// for what has to be told to the host.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "core/device.h"
#include "core/function_ref.h"
#include "cuda/staging.h"
#include "cuda/status.h"

namespace repa {

class CudaDevice final : public Device {
 public:
  /// The device of an ordinal, made at first use. Throws Error(device) with the reason, as a part of a
  /// sentence, where it is not to be had. Never
  /// destroyed, as the CPU device is not.
  static CudaDevice& instance(int ordinal);

  std::string name() const override { return "cuda:" + std::to_string(info_.ordinal); }
  Allocator& allocator() override { return allocator_; }
  void upload(void* to, const void* from, int64_t bytes) override;
  void download(void* to, const void* from, int64_t bytes, std::function<void(const std::string&)> done) override;
  void whenIdle(std::function<void(const std::string&)> done) override;
  void profile(bool on) override;
  std::map<std::string, OperationCost> costs() override;
  void fail(const std::string& sentence) override;
  /// Marks it failed for what is no fault of the GPU's, on any thread: asks CUDA nothing, which may be holding up another one.
  void stop(const std::string& sentence);
  /// Forgets a failure that left the GPU usable. What CUDA calls a sticky error (an illegal address, say) has taken the GPU
  /// away from this process: the device goes on reporting it.
  void reset() override;
  void allowTf32(bool on) override { allowsTf32_ = on; }
  bool allowsTf32() const { return allowsTf32_; }

  /// Enqueues an operation's kernels under its name. `launch` gets the stream. Error(failed), which any error of CUDA's is, marks the device
  /// failed: later work is left out and every wait is told, until reset(). All else that `launch` throws is thrown on, an Error with the
  /// operation's name before its sentence: a size or a setting that a kernel does not take, memory that it cannot have.
  void enqueue(const char* operation, FunctionRef<void(cudaStream_t stream)> launch);

  void beginCapture() override;
  int64_t endCapture() override;
  void launchGraph(int64_t graph) override;
  void destroyGraph(int64_t graph) override;

  const CudaDeviceInfo& info() const { return info_; }
  /// Lets CUDA's calls of this thread be of this GPU.
  void makeCurrent() const;

 private:
  class DeviceMemory final : public Allocator::Source {
   public:
    explicit DeviceMemory(CudaDevice& device) : device_(device) {}
    void* take(int64_t bytes) override;
    void give(void* block, int64_t bytes) override;
    void waitForQueue() override;

   private:
    CudaDevice& device_;
  };

  /// What the waiting thread does once an event has happened.
  struct Completion {
    cudaEvent_t event;
    std::function<void(const std::string& failure)> then;
  };

  struct TimedOperation {
    const char* operation;
    cudaEvent_t began, ended;
  };

  struct Graph {
    cudaGraphExec_t executable;
    int64_t pool;
  };

  explicit CudaDevice(const CudaDeviceInfo& info);
  void requireNoCapture(const char* what) const;
  std::string failure();
  /// Whether an error was sticky: then every later call on the stream gives it again.
  bool isLost();
  cudaEvent_t takeEvent(bool timed);
  void giveEvent(cudaEvent_t event);
  /// Calls `then` on the waiting thread when everything enqueued so far has run.
  void complete(std::function<void(const std::string& failure)> then);
  void runCompletions();
  void addTimes();

  CudaDeviceInfo info_;
  DeviceMemory memory_;
  Allocator allocator_;
  cudaStream_t stream_ = nullptr;
  Staging staging_;
  std::atomic<bool> allowsTf32_ = false;
  // Touched by the thread that enqueues.
  bool capturing_ = false;
  cudaEvent_t beforeCapture_ = nullptr;
  std::map<int64_t, Graph> graphs_;
  int64_t nextGraph_ = 1;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Completion> completions_;
  std::vector<cudaEvent_t> freeEvents_;
  std::string failure_;
  bool lost_ = false;
  bool profiling_ = false;
  std::vector<TimedOperation> timed_;
  std::map<std::string, OperationCost> costs_;
  std::thread waiter_;
};

}  // namespace repa
