// Streams, events and graphs in the runtime API.
#include <algorithm>
#include <chrono>
#include <memory>

#include "simt/device.h"
#include "simt/stream.h"

namespace repa::simt {

namespace {

double nowMilliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Marks events; what waits for one sleeps here.
std::mutex eventMutex;
auto& eventReached = *new std::condition_variable;

void waitForRecord(const EventRecord& record) {
  std::unique_lock lock(eventMutex);
  eventReached.wait(lock, [&] { return record.reached; });
}

/// Whether a capture is under way, null: none, of what may not be waited for or asked while it is: then there will be no graph.
bool captureEnds(CUgraph_st* capture) {
  if (capture) capture->invalidated = true;
  return capture != nullptr;
}

}  // namespace

}  // namespace repa::simt

using namespace repa::simt;

// ---- streams

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = deviceError()) return report(error);
  *stream = new CUstream_st;
  (*stream)->writingToDevice = [](const Task& part) {
    const DeviceMemoryTurn turn;
    part();
  };
  registerStream(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!forgetStream(stream)) return report(cudaErrorInvalidResourceHandle);
  delete stream;  // what is queued still runs
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  CUstream_st& queue = streamOf(stream);
  if (captureEnds(queue.capture) || captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  queue.waitUntilIdle();
  return report(deviceError());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  CUstream_st& queue = streamOf(stream);
  if (captureEnds(queue.capture) || captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  if (const cudaError_t error = deviceError()) return report(error);
  return queue.idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t error = deviceError()) return report(error);
  if (!event->record) return cudaSuccess;  // never recorded: nothing to wait for
  CUstream_st& queue = streamOf(stream);
  if (CUgraph_st* graph = event->record->capture) {
    if (!isCapture(graph)) return report(cudaErrorCapturedEvent);
    if (queue.capture != graph && captureEnds(queue.capture)) return report(cudaErrorStreamCaptureInvalidated);
    queue.capture = graph;
    std::lock_guard lock(graph->mutex);
    for (const auto& [stream, tasks] : event->record->before) {
      size_t& before = graph->before[&queue][stream];
      before = std::max(before, tasks);
    }
    return cudaSuccess;
  }
  // A graph holds no point in time outside of it.
  if (captureEnds(queue.capture)) return report(cudaErrorStreamCaptureIsolation);
  queue.enqueue([record = event->record] { waitForRecord(*record); });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* userData) {
  if (const cudaError_t error = deviceError()) return report(error);
  streamOf(stream).enqueue([=] {
    if (!deviceError()) function(userData);
  });
  return cudaSuccess;
}

// ---- events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = deviceError()) return report(error);
  CUstream_st& queue = streamOf(stream);
  event->record = std::make_shared<EventRecord>();
  if (CUgraph_st* const graph = queue.capture) {
    event->record->capture = graph;
    std::lock_guard lock(graph->mutex);
    event->record->before = graph->before[&queue];
    return cudaSuccess;
  }
  queue.enqueue([record = event->record] {
    {
      std::lock_guard lock(eventMutex);
      record->reached = true;
      record->milliseconds = nowMilliseconds();
    }
    eventReached.notify_all();
  });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->record && captureEnds(event->record->capture)) return report(cudaErrorStreamCaptureUnsupported);
  if (event->record) waitForRecord(*event->record);
  return report(deviceError());
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->record && captureEnds(event->record->capture)) return report(cudaErrorStreamCaptureUnsupported);
  if (const cudaError_t error = deviceError()) return report(error);
  if (!event->record) return cudaSuccess;
  std::lock_guard lock(eventMutex);
  return event->record->reached ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->record || !end->record || !start->timed || !end->timed) return report(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(eventMutex);
  if (!start->record->reached || !end->record->reached) return cudaErrorNotReady;
  *milliseconds = static_cast<float>(end->record->milliseconds - start->record->milliseconds);
  return cudaSuccess;
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t error = deviceError()) return report(error);
  if (!stream) return report(cudaErrorStreamCaptureUnsupported);  // the default stream cannot be captured
  if (stream->capture) return report(cudaErrorStreamCaptureInvalidated);
  auto* graph = new CUgraph_st;
  graph->mode = mode;
  graph->origin = stream;
  graph->before[stream];
  stream->capture = graph;
  registerCapture(graph);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  CUgraph_st* const captured = stream ? stream->capture.load() : nullptr;
  if (!captured || captured->origin != stream) return report(cudaErrorInvalidValue);
  *graph = captured;
  auto& before = captured->before;
  bool joined = true;
  for (auto& [each, behind] : before) {
    each->leaveCapture();
    joined &= behind[each] <= before[stream][each];
  }
  forgetCapture(captured);
  if (!captured->invalidated && joined) return cudaSuccess;
  const cudaError_t error = captured->invalidated ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined;
  delete captured;
  *graph = nullptr;
  return report(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  CUgraph_st* const graph = stream ? stream->capture.load() : nullptr;
  *status = !graph               ? cudaStreamCaptureStatusNone
            : graph->invalidated ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (nodes) return report(cudaErrorNotSupported);  // one task a node; they have no handles here
  *count = graph->tasks.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->tasks};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t error = deviceError()) return report(error);
  for (const Task& task : exec->tasks) streamOf(stream).enqueue(task);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
