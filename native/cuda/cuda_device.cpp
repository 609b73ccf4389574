#include "cuda/cuda_device.h"

#include <cuda_runtime.h>

#include <future>

#include "core/error.h"
#include "core/start_thread.h"
#include "cuda/check.h"
#include "cuda/spare_memory.h"

namespace repa {

CudaDevice& CudaDevice::instance(int ordinal) {
  static std::mutex mutex;
  static std::map<int, CudaDevice*> devices;
  const CudaStatus& status = cudaStatus();
  if (status.state != CudaState::ready) throw Error(ErrorCode::device, "there is no cuda:" + std::to_string(ordinal) + " here: " + status.reason + ".");
  std::lock_guard lock(mutex);
  CudaDevice*& device = devices[ordinal];
  if (device) return *device;
  for (const CudaDeviceInfo& info : status.devices) {
    if (info.ordinal != ordinal) continue;
    if (!info.usable)
      throw Error(ErrorCode::device, "cuda:" + std::to_string(ordinal) + " (" + info.name + ") has compute capability " + std::to_string(info.major) + "." +
                                         std::to_string(info.minor) + "; the kernels need 8.0 or later.");
    device = new CudaDevice(info);
    return *device;
  }
  throw Error(ErrorCode::device, "there is no cuda:" + std::to_string(ordinal) + " here: " + std::to_string(status.devices.size()) +
                                     (status.devices.size() == 1 ? " GPU is" : " GPUs are") + " visible, counted from cuda:0.");
}

CudaDevice::CudaDevice(const CudaDeviceInfo& info) : info_(info), memory_(*this), allocator_(memory_, info.memoryBytes) {
  makeCurrent();
  // Not the legacy stream, which would wait for every other stream of the process.
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
  cuda::check(cudaEventCreateWithFlags(&beforeCapture_, cudaEventDisableTiming), "make an event");
  staging_.open([this](int64_t bytes) { return allocator_.takeUncounted(bytes, "the copy on its way"); });
  waiter_ = startThread("what waits for the GPU", [this] { runCompletions(); });
}

void CudaDevice::makeCurrent() const { cuda::check(cudaSetDevice(info_.ordinal), "select the device"); }

bool CudaDevice::isLost() {
  // Of a stream that is captured one may not ask, and the question would end the capture. It runs nothing; a GPU that is lost gives its
  // error here too.
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream_, &capturing) == cudaSuccess && capturing != cudaStreamCaptureStatusNone) return false;
  const cudaError_t state = cudaStreamQuery(stream_);
  cudaGetLastError();
  return state != cudaSuccess && state != cudaErrorNotReady;
}

std::string CudaDevice::failure() {
  std::lock_guard lock(mutex_);
  return failure_;
}

void CudaDevice::fail(const std::string& sentence) {
  const bool lost = isLost();
  std::lock_guard lock(mutex_);
  if (!failure_.empty()) return;
  lost_ = lost;
  failure_ = sentence;
  // CUDA tells of a fault at whatever is called next.
  if (lost)
    failure_ += " The GPU is lost to this process; start a new one, with CUDA_LAUNCH_BLOCKING=1 for an error that names the operation that did it.";
}

void CudaDevice::stop(const std::string& sentence) {
  std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = sentence;
}

void CudaDevice::enqueue(const char* operation, FunctionRef<void(cudaStream_t stream)> launch) {
  if (!failure().empty()) return;
  try {
    makeCurrent();
    const auto giveBack = [this] { return allocator_.trim(); };
    const cuda::SpareMemory spare(giveBack);
    bool timed = false;
    {
      std::lock_guard lock(mutex_);
      timed = profiling_ && !capturing_;
    }
    const cudaEvent_t began = timed ? takeEvent(true) : nullptr;
    if (timed) cuda::check(cudaEventRecord(began, stream_), "record an event");
    launch(stream_);
    if (timed) {
      const cudaEvent_t ended = takeEvent(true);
      cuda::check(cudaEventRecord(ended, stream_), "record an event");
      std::lock_guard lock(mutex_);
      timed_.push_back({operation, began, ended});
    }
  } catch (const Error& error) {
    // A size, a setting or a want of memory is the caller's to mend, as where an op refuses it: what it asked for is not there, and the GPU is as
    // it was.
    if (error.code() != ErrorCode::failed) throw Error(error.code(), std::string(operation) + ": " + error.what());
    fail(std::string(operation) + " failed on " + name() + ": " + error.what());
  }
}

void CudaDevice::requireNoCapture(const char* what) const {
  if (capturing_)
    throw Error(ErrorCode::invalidArgument, std::string(what) + " is not possible while a step is captured on " + name() + ": do it before or after.");
}

void CudaDevice::beginCapture() {
  requireNoCapture("Another capture");
  if (const std::string failed = failure(); !failed.empty()) throw Error(ErrorCode::failed, failed);
  makeCurrent();
  cuda::check(cudaEventRecord(beforeCapture_, stream_), "record an event");
  allocator_.beginPool();
  // Relaxed: taking memory from the system is allowed meanwhile, here and in other threads.
  const cudaError_t begun = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed);
  if (begun != cudaSuccess) allocator_.dropPool(allocator_.endPool());
  cuda::check(begun, "begin a capture");
  capturing_ = true;
}

int64_t CudaDevice::endCapture() {
  if (!capturing_) throw Error(ErrorCode::invalidArgument, "There is no capture on " + name() + " to end.");
  capturing_ = false;
  makeCurrent();
  Graph graph{nullptr, allocator_.endPool()};
  cudaGraph_t recorded = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream_, &recorded);
  if (error == cudaSuccess) {
    const auto giveBack = [this] { return allocator_.trim(); };
    const cuda::SpareMemory spare(giveBack);
    error = cuda::withSpareMemory([&] { return cudaGraphInstantiate(&graph.executable, recorded, 0); });
  }
  if (recorded) cudaGraphDestroy(recorded);
  std::string failed = failure();
  if (error != cudaSuccess || !failed.empty()) {
    if (graph.executable) cudaGraphExecDestroy(graph.executable);
    allocator_.dropPool(graph.pool);
    // An operation that could not be recorded has run nothing: the device is as it was.
    reset();
    if (!failed.empty()) throw Error(ErrorCode::failed, "The step could not be captured: " + failed);
    cuda::check(error, "capture a step");
  }
  graphs_[nextGraph_] = graph;
  return nextGraph_++;
}

void CudaDevice::launchGraph(int64_t graph) {
  requireNoCapture("Running a captured step");
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) throw Error(ErrorCode::invalidArgument, "There is no graph " + std::to_string(graph) + " on " + name() + ".");
  enqueue("graph", [&](cudaStream_t stream) {
    const auto launch = [&] { return cudaGraphLaunch(found->second.executable, stream); };
    cuda::check(cuda::withSpareMemory(launch), "launch a captured step");
  });
}

void CudaDevice::destroyGraph(int64_t graph) {
  const auto found = graphs_.find(graph);
  if (found == graphs_.end()) return;
  makeCurrent();
  // The next user of the pool's blocks is enqueued behind the last replay.
  cudaGraphExecDestroy(found->second.executable);
  allocator_.dropPool(found->second.pool);
  graphs_.erase(found);
}

void CudaDevice::upload(void* to, const void* from, int64_t bytes) {
  requireNoCapture("Writing to a tensor from the host");
  if (bytes == 0) return;
  enqueue("upload", [&](cudaStream_t stream) { staging_.upload(stream, to, from, bytes); });
}

void CudaDevice::download(void* to, const void* from, int64_t bytes, std::function<void(const std::string&)> done) {
  requireNoCapture("Reading a tensor");
  if (bytes == 0) return whenIdle(std::move(done));
  bool isBegun = false, isTold = false;
  const auto takeOutLater = [&](const Staging::Piece& piece) {
    isBegun = true;
    isTold = piece.isLast;
    complete([this, piece, last = isTold ? done : nullptr](const std::string& failure) {
      staging_.takeOut(piece);
      if (last) last(failure);
    });
  };
  enqueue("download", [&](cudaStream_t stream) {
    try {
      staging_.download(stream, to, from, bytes, takeOutLater);
    } catch (const Error& error) {
      // The pieces before are on their way to `to`, which is the caller's as soon as this throws.
      throw Error(isBegun ? ErrorCode::failed : error.code(), error.what());
    }
  });
  if (isTold) return;
  // What was not copied has failed, also where the device is reset before this is told.
  complete([uncopied = failure(), done = std::move(done)](const std::string& failure) { done(failure.empty() ? uncopied : failure); });
}

void CudaDevice::whenIdle(std::function<void(const std::string&)> done) { complete(std::move(done)); }

cudaEvent_t CudaDevice::takeEvent(bool timed) {
  cudaEvent_t event = nullptr;
  if (!timed) {
    std::lock_guard lock(mutex_);
    if (!freeEvents_.empty()) {
      event = freeEvents_.back();
      freeEvents_.pop_back();
      return event;
    }
  }
  // Blocking: the thread that waits sleeps instead of taking a core.
  cuda::check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | (timed ? 0 : cudaEventDisableTiming)), "make an event");
  return event;
}

void CudaDevice::giveEvent(cudaEvent_t event) {
  std::lock_guard lock(mutex_);
  freeEvents_.push_back(event);
}

void CudaDevice::complete(std::function<void(const std::string&)> then) {
  requireNoCapture("Waiting");
  cudaEvent_t event = nullptr;
  try {
    makeCurrent();
    event = takeEvent(false);
    cuda::check(cudaEventRecord(event, stream_), "record an event");
  } catch (const std::exception& error) {
    fail("Waiting for " + name() + " failed: " + error.what());
  }
  {
    std::lock_guard lock(mutex_);
    completions_.push_back({event, std::move(then)});
  }
  wake_.notify_one();
}

void CudaDevice::runCompletions() {
  cudaSetDevice(info_.ordinal);
  for (;;) {
    Completion completion;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !completions_.empty(); });
      completion = std::move(completions_.front());
      completions_.pop_front();
    }
    if (completion.event) {
      const cudaError_t waited = cudaEventSynchronize(completion.event);
      // A kernel's own failure is reported by whatever call comes next, here: which of the operations enqueued so far it was,
      // CUDA does not say.
      if (waited != cudaSuccess) fail("A kernel failed on " + name() + ": " + cudaGetErrorString(waited) + " (" + cudaGetErrorName(waited) + ").");
      giveEvent(completion.event);
    }
    completion.then(failure());
  }
}

void CudaDevice::profile(bool on) {
  std::vector<TimedOperation> dropped;
  {
    std::lock_guard lock(mutex_);
    profiling_ = on;
    if (!on) return;
    costs_.clear();
    dropped.swap(timed_);
  }
  for (const TimedOperation& operation : dropped) {
    cudaEventDestroy(operation.began);
    cudaEventDestroy(operation.ended);
  }
}

void CudaDevice::addTimes() {
  std::vector<TimedOperation> timed;
  {
    std::lock_guard lock(mutex_);
    timed.swap(timed_);
  }
  for (const TimedOperation& operation : timed) {
    float milliseconds = 0;
    cuda::check(cudaEventSynchronize(operation.ended), "wait for an event");
    cuda::check(cudaEventElapsedTime(&milliseconds, operation.began, operation.ended), "read a time");
    cudaEventDestroy(operation.began);
    cudaEventDestroy(operation.ended);
    std::lock_guard lock(mutex_);
    OperationCost& cost = costs_[operation.operation];
    ++cost.calls;
    cost.seconds += 1e-3 * milliseconds;
  }
}

std::map<std::string, OperationCost> CudaDevice::costs() {
  makeCurrent();
  addTimes();
  std::lock_guard lock(mutex_);
  return costs_;
}

void CudaDevice::reset() {
  std::lock_guard lock(mutex_);
  if (lost_) return;
  failure_.clear();
  cudaGetLastError();
}

void* CudaDevice::DeviceMemory::take(int64_t bytes) {
  void* block = nullptr;
  cudaError_t error = cudaSetDevice(device_.info_.ordinal);
  if (error == cudaSuccess) error = cudaMalloc(&block, static_cast<size_t>(bytes));
  if (error == cudaSuccess) return block;
  // Out of memory is the allocator's to report, all else is reported here: not by the next call.
  cudaGetLastError();
  if (error == cudaErrorMemoryAllocation) return nullptr;
  device_.fail("Taking memory of " + device_.name() + " failed: " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ").");
  throw Error(ErrorCode::failed, device_.failure());
}

void CudaDevice::DeviceMemory::give(void* block, int64_t) {
  // Of a GPU that is lost nothing can be given back, and of no other does this fail.
  cudaSetDevice(device_.info_.ordinal);
  cudaFree(block);
}

void CudaDevice::DeviceMemory::waitForQueue() {
  cudaSetDevice(device_.info_.ordinal);
  // A stream that is captured may not be waited for, and runs nothing but what it was given before.
  if (device_.capturing_) cudaEventSynchronize(device_.beforeCapture_);
  else cudaStreamSynchronize(device_.stream_);
}

}  // namespace repa
