// The runtime API of the shim: order, events, graphs, errors; and what blocks share.
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"
#include "simt/test/refusal.h"

namespace repa::cuda::test {


class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

__global__ void addTo(float* values, float summand, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) values[i] += summand;
}

void add(cudaStream_t stream, DeviceArray<float>& values, float summand) {
  const int n = static_cast<int>(values.size());
  launch(stream, addTo, LaunchShape{.grid = static_cast<unsigned>((n + 63) / 64), .block = 64}, values.data(), summand, n);
}

TEST(a_stream_runs_in_order) {
  Stream stream;
  DeviceArray<float> values(100);
  std::vector<float> host(100, -1);
  check(cudaMemsetAsync(values.data(), 0, 400, stream), "clear");
  add(stream, values, 1);
  add(stream, values, 2);
  check(cudaMemcpyAsync(host.data(), values.data(), 400, cudaMemcpyDeviceToHost, stream), "copy");
  check(cudaStreamSynchronize(stream), "wait");
  expect(host == std::vector<float>(100, 3.0f), "0 + 1 + 2");
}

TEST(work_is_asynchronous) {
  Stream stream;
  cudaEvent_t event;
  check(cudaEventCreateWithFlags(&event, cudaEventDefault), "make an event");
  expect(cudaEventQuery(event) == cudaSuccess, "an event that was never recorded");
  const auto sleep = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(30)); };
  cudaEvent_t begin;
  check(cudaEventCreateWithFlags(&begin, cudaEventDefault), "make an event");
  check(cudaEventRecord(begin, stream), "record");
  check(cudaLaunchHostFunc(stream, sleep, nullptr), "enqueue a host function");
  check(cudaEventRecord(event, stream), "record");
  expect(cudaEventQuery(event) == cudaErrorNotReady && cudaStreamQuery(stream) == cudaErrorNotReady, "the stream did not lag behind");
  check(cudaEventSynchronize(event), "wait");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, event), "measure");
  expect(milliseconds >= 29, "the events measured " + std::to_string(milliseconds) + " ms");
  cudaEventDestroy(event);
  cudaEventDestroy(begin);
}

TEST(a_stream_waits_for_an_event_of_another) {
  Stream producer, consumer;
  cudaEvent_t event;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "make an event");
  DeviceArray<float> values(64);
  check(cudaMemsetAsync(values.data(), 0, 256, producer), "clear");
  check(cudaLaunchHostFunc(
            producer, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }, nullptr),
        "enqueue a host function");
  add(producer, values, 5);
  check(cudaEventRecord(event, producer), "record");
  check(cudaStreamWaitEvent(consumer, event, 0), "wait for the event");
  add(consumer, values, 1);
  check(cudaStreamSynchronize(consumer), "wait");
  expect(values.read()[63] == 6, "5 + 1");
  cudaEventDestroy(event);
}

TEST(graphs_replay_what_was_captured) {
  Stream stream, side;
  cudaEvent_t fork, join;
  check(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming), "make an event");
  check(cudaEventCreateWithFlags(&join, cudaEventDisableTiming), "make an event");
  DeviceArray<float> values(64), others(64);
  check(cudaMemset(values.data(), 0, 256), "clear");
  check(cudaMemset(others.data(), 0, 256), "clear");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "begin the capture");
  add(stream, values, 1);
  check(cudaEventRecord(fork, stream), "fork");
  check(cudaStreamWaitEvent(side, fork, 0), "fork");
  add(side, others, 2);
  check(cudaEventRecord(join, side), "join");
  check(cudaStreamWaitEvent(stream, join, 0), "join");
  add(stream, others, 3);
  cudaGraph_t graph;
  check(cudaStreamEndCapture(stream, &graph), "end the capture");
  expect(values.read()[0] == 0, "a capture ran something");
  cudaGraphExec_t exec;
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  check(cudaGraphDestroy(graph), "destroy");
  for (int i = 0; i < 3; ++i) check(cudaGraphLaunch(exec, stream), "launch");
  check(cudaStreamSynchronize(stream), "wait");
  expect(values.read()[0] == 3 && others.read()[63] == 15, "three replays");
  check(cudaGraphExecDestroy(exec), "destroy");
  cudaEventDestroy(fork);
  cudaEventDestroy(join);
}

TEST(threads_enqueue_into_one_capture) {
  constexpr int kEach = 100000;
  Stream stream;
  int ran = 0;
  const auto count = [](void* ran) { ++*static_cast<int*>(ran); };
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "begin the capture");
  const auto enqueue = [&] {
    for (int i = 0; i < kEach; ++i) check(cudaLaunchHostFunc(stream, count, &ran), "enqueue a host function");
  };
  std::thread other(enqueue);
  enqueue();
  other.join();
  cudaGraph_t graph;
  check(cudaStreamEndCapture(stream, &graph), "end the capture");
  size_t nodes = 0;
  check(cudaGraphGetNodes(graph, nullptr, &nodes), "count");
  cudaGraphExec_t exec;
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  check(cudaGraphDestroy(graph), "destroy");
  check(cudaGraphLaunch(exec, stream), "launch");
  check(cudaStreamSynchronize(stream), "wait");
  expect(nodes == 2 * kEach && ran == 2 * kEach, "of two threads' functions the graph has " + std::to_string(nodes) + ", and ran " + std::to_string(ran));
  check(cudaGraphExecDestroy(exec), "destroy");
}

/// What the end of a capture returns; the graph that it then makes is let go.
cudaError_t endOfCapture(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  cudaGetLastError();
  expect((ended == cudaSuccess) == (graph != nullptr), "a graph of no capture, or none of one");
  if (graph) check(cudaGraphDestroy(graph), "destroy");
  return ended;
}

TEST(a_captured_stream_that_is_not_joined_leaves_no_graph) {
  Stream stream, side, further;
  cudaEvent_t fork, join, before;
  for (cudaEvent_t* event : {&fork, &join, &before}) check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "make an event");
  DeviceArray<float> values(64);
  check(cudaEventRecord(before, side), "record an event");
  /// What a body's last call returns, and then the end of the capture that it is in, with the side stream forked.
  const auto captured = [&](auto body) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "begin the capture");
    check(cudaEventRecord(fork, stream), "fork");
    check(cudaStreamWaitEvent(side, fork, 0), "fork");
    add(side, values, 1);
    const cudaError_t called = body();
    return std::pair(called, endOfCapture(stream));
  };
  const auto waitFor = [&](cudaStream_t waiting, cudaStream_t other) {
    check(cudaEventRecord(join, other), "record an event");
    return cudaStreamWaitEvent(waiting, join, 0);
  };
  const auto unjoined = std::pair(cudaSuccess, cudaErrorStreamCaptureUnjoined);
  expect(captured([&] { return cudaSuccess; }) == unjoined, "a side stream that nobody waited for");
  expect(captured([&] { return waitFor(stream, side); }) == std::pair(cudaSuccess, cudaSuccess), "a side stream that was joined");
  expect(captured([&] {
           const cudaError_t waited = waitFor(stream, side);
           add(side, values, 1);
           return waited;
         }) == unjoined,
         "work after the join");
  expect(captured([&] { return waitFor(further, side); }) == unjoined, "a side stream that was joined to another one alone");
  expect(captured([&] {
           check(waitFor(further, side), "join");
           return waitFor(stream, further);
         }) == std::pair(cudaSuccess, cudaSuccess),
         "a side stream that was joined by way of another one");
  expect(captured([&] { return cudaStreamWaitEvent(stream, before, 0); }) ==
             std::pair(cudaErrorStreamCaptureIsolation, cudaErrorStreamCaptureInvalidated),
         "waiting for what is not captured");
  expect(cudaStreamWaitEvent(side, join, 0) == cudaErrorCapturedEvent, "waiting for what was captured once");
  cudaGetLastError();
  for (cudaEvent_t event : {fork, join, before}) cudaEventDestroy(event);
}

TEST(a_forbidden_call_ends_a_capture) {
  Stream stream;
  cudaEvent_t before, within;
  for (cudaEvent_t* event : {&before, &within}) check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "make an event");
  check(cudaEventRecord(before, stream), "record an event");
  /// What a call returns during a capture, and then the capture's end.
  const auto during = [&](cudaStreamCaptureMode mode, auto call) {
    check(cudaStreamBeginCapture(stream, mode), "begin the capture");
    check(cudaEventRecord(within, stream), "record an event");
    const cudaError_t called = call();
    return std::pair(called, endOfCapture(stream));
  };
  const auto refused = std::pair(cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated);
  const auto taken = std::pair(cudaSuccess, cudaSuccess);
  void* memory = nullptr;
  const auto allocate = [&] { return cudaMalloc(&memory, 16); };
  for (const cudaStreamCaptureMode mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeRelaxed}) {
    expect(during(mode, [&] { return cudaStreamSynchronize(stream); }) == refused, "cudaStreamSynchronize during a capture");
    expect(during(mode, [&] { return cudaStreamQuery(stream); }) == refused, "cudaStreamQuery during a capture");
    expect(during(mode, [&] { return cudaEventSynchronize(within); }) == refused, "cudaEventSynchronize of a captured event");
    expect(during(mode, [&] { return cudaEventSynchronize(before); }) == taken, "cudaEventSynchronize of an event from before a capture");
  }
  expect(during(cudaStreamCaptureModeGlobal, allocate) == refused, "cudaMalloc during a capture");
  expect(during(cudaStreamCaptureModeRelaxed, allocate) == taken, "cudaMalloc during a relaxed capture");
  check(cudaFree(memory), "free");
  for (cudaEvent_t event : {before, within}) cudaEventDestroy(event);
}

TEST(device_memory_begins_as_nan_and_is_counted) {
  size_t before = 0, after = 0, total = 0;
  check(cudaMemGetInfo(&before, &total), "ask for memory");
  {
    DeviceArray<float> values(1000);
    for (const float value : values.read()) expect(std::isnan(value), "a number that nobody wrote");
    check(cudaMemGetInfo(&after, &total), "ask for memory");
    expect(before - after == 4000, "4000 bytes are not counted");
  }
  void* memory = nullptr;
  expect(cudaMalloc(&memory, total + 1) == cudaErrorMemoryAllocation && cudaGetLastError() == cudaErrorMemoryAllocation,
         "more memory than there is");
  expect(cudaGetLastError() == cudaSuccess, "an error reported twice");
  void* pinned = nullptr;
  check(cudaMallocHost(&pinned, 100), "pin");
  check(cudaFreeHost(pinned), "unpin");
}

TEST(refused_launches_say_what_was_refused) {
  DeviceArray<float> values(1);
  const auto refused = [&](const LaunchShape& shape) { return refusal(addTo, shape, values.data(), 1.0f, 1); };
  expectContains(refused({.grid = 1, .block = 2048}), "CUDA refused to launch addTo");
  expectContains(refused({.grid = 1, .block = 2048}), "2048x1x1 threads");
  expectContains(refused({.grid = 0, .block = 32}), "cudaErrorInvalidConfiguration");
  expectContains(refused({.grid = 3, .block = 32, .cluster = 2}), "cudaErrorInvalidConfiguration");
  check(cudaDeviceSynchronize(), "wait");
}

TEST(the_device_is_described) {
  int count = 0;
  cudaDeviceProp properties;
  check(cudaGetDeviceCount(&count), "count devices");
  check(cudaGetDeviceProperties(&properties, 0), "describe the device");
  expect(count == 1 && std::string(properties.name) == "SIMT shim (CPU)", "the description");
  expect(properties.major == 9 && properties.minor == 0, "without REPA_SIMT_ARCH");
  expect(cudaSetDevice(1) == cudaErrorInvalidDevice, "a second device");
  cudaGetLastError();
}

// ---- What blocks and threads share

__global__ void orderOfBlocks(unsigned* next, unsigned* order) {
  if (threadIdx.x == 0) order[atomicAdd(next, 1u)] = blockIdx.x;
}

std::vector<unsigned> observedOrder() {
  DeviceArray<unsigned> next(std::vector<unsigned>{0}), order(64);
  launch(nullptr, orderOfBlocks, LaunchShape{.grid = 64, .block = 32}, next.data(), order.data());
  return order.read();
}

TEST(the_schedule_follows_from_the_seed) {
  simt::setSeed(7);
  const auto first = observedOrder(), second = observedOrder();
  simt::setSeed(7);
  const auto again = observedOrder();
  expect(first == again, "the same seed gave another order");
  expect(first != second, "two launches ran in the same order");
}

/// The last block adds up what all wrote: the pattern of reductions without a second launch.
__global__ void lastBlockSums(const float* in, float* partial, unsigned* arrived, float* out) {
  __shared__ bool last;
  __shared__ float sums[64];
  sums[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (const float value : sums) sum += value;
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  __threadfence();
  float sum = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) sum += partial[block];
  *out = sum;
}

TEST(the_last_block_sums_up) {
  const auto values = randomIntegers(64 * 9, 1);
  float want = 0;
  for (const float value : values) want += value;
  underSeeds([&](const std::string& seed) {
    DeviceArray<float> in(values), partial(9), out(1);
    DeviceArray<unsigned> arrived(std::vector<unsigned>{0});
    launch(nullptr, lastBlockSums, LaunchShape{.grid = 9, .block = 64}, in.data(), partial.data(), arrived.data(), out.data());
    expect(out.read()[0] == want, seed);
  });
}

__global__ void uninitialisedShared(float* out) {
  __shared__ float fixed[64];
  REPA_DYNAMIC_SHARED(dynamic);
  out[2 * threadIdx.x] = fixed[threadIdx.x];
  out[2 * threadIdx.x + 1] = reinterpret_cast<float*>(dynamic)[threadIdx.x];
  fixed[threadIdx.x] = 1;
  reinterpret_cast<float*>(dynamic)[threadIdx.x] = 1;
}

TEST(shared_memory_begins_as_nan_in_every_block) {
  DeviceArray<float> out(128);
  for (int i = 0; i < 2; ++i) launch(nullptr, uninitialisedShared, LaunchShape{.grid = 2, .block = 64, .sharedBytes = 256}, out.data());
  for (const float value : out.read()) expect(std::isnan(value), "a number that nobody wrote");
}

/// Two halves of a block hand a buffer back and forth by named barriers.
__global__ void handOver(const float* in, float* out, int rounds) {
  __shared__ float buffer[64];
  const bool producer = threadIdx.x < 64;
  const int lane = threadIdx.x % 64;
  for (int round = 0; round < rounds; ++round) {
    if (producer) {
      if (round > 0) namedBarrierSync(2, 128);
      buffer[lane] = in[round * 64 + lane];
      namedBarrierArrive(1, 128);
    } else {
      namedBarrierSync(1, 128);
      out[round * 64 + lane] = buffer[63 - lane];
      if (round + 1 < rounds) namedBarrierArrive(2, 128);
    }
  }
}

TEST(named_barriers) {
  const auto values = randomFloats(64 * 5, 2);
  underSeeds([&](const std::string& seed) {
    DeviceArray<float> in(values), out(64 * 5);
    launch(nullptr, handOver, LaunchShape{.grid = 1, .block = 128}, in.data(), out.data(), 5);
    const auto got = out.read();
    for (int i = 0; i < 64 * 5; ++i) expect(got[i] == values[i / 64 * 64 + 63 - i % 64], seed + ": element " + std::to_string(i));
  });
}

}  // namespace repa::cuda::test
