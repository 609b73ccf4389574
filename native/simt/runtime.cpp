// The device, its errors and launches in the runtime API.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "simt/architecture.h"
#include "simt/device.h"
#include "simt/dry_run.h"
#include "simt/failure.h"
#include "simt/include/cuda_runtime.h"
#include "simt/launched_kernels.h"
#include "simt/loaded_code.h"
#include "simt/planted_fault.h"
#include "simt/scheduler.h"
#include "simt/simt.h"
#include "simt/symbols.h"

namespace repa::simt {

namespace {

constexpr size_t sharedPerBlock = 48 * 1024;
constexpr int multiprocessors = 2;
constexpr int maxThreadsPerBlock = 1024;

std::mutex stateMutex;
cudaError_t sticky = cudaSuccess;
// What a stream's thread touches is never destroyed, here and in other files: at the process's end it may be inside a kernel.
auto& streams = *new std::set<CUstream_st*>;
auto& captures = *new std::set<CUgraph_st*>;
auto& maxDynamicShared = *new std::map<const void*, size_t>;
thread_local cudaError_t lastError = cudaSuccess;

size_t maxDynamicSharedOf(const void* kernel) {
  std::lock_guard lock(stateMutex);
  const auto set = maxDynamicShared.find(kernel);
  return set == maxDynamicShared.end() ? sharedPerBlock - staticSharedBytes(kernel) : set->second;
}

}  // namespace

cudaError_t deviceError() {
  std::lock_guard lock(stateMutex);
  return sticky;
}

void setDeviceError(cudaError_t error, const std::string& sentence) {
  recordFailure(sentence);
  std::lock_guard lock(stateMutex);
  if (!sticky) sticky = error;
}

cudaError_t report(cudaError_t error) {
  if (error) lastError = error;
  return error;
}

CUstream_st& streamOf(cudaStream_t stream) {
  static CUstream_st& defaultStream = *new CUstream_st;
  return stream ? *stream : defaultStream;
}

void waitForAllStreams() {
  std::set<CUstream_st*> all;
  {
    std::lock_guard lock(stateMutex);
    all = streams;
  }
  for (CUstream_st* stream : all) stream->waitUntilIdle();
  streamOf(nullptr).waitUntilIdle();
}

void registerStream(CUstream_st* stream) {
  std::lock_guard lock(stateMutex);
  streams.insert(stream);
}

bool forgetStream(CUstream_st* stream) {
  std::lock_guard lock(stateMutex);
  return streams.erase(stream) > 0;
}

void registerCapture(CUgraph_st* graph) {
  std::lock_guard lock(stateMutex);
  captures.insert(graph);
}

void forgetCapture(CUgraph_st* graph) {
  std::lock_guard lock(stateMutex);
  captures.erase(graph);
}

bool isCapture(CUgraph_st* graph) {
  std::lock_guard lock(stateMutex);
  return captures.contains(graph);
}

bool captureForbids() {
  std::lock_guard lock(stateMutex);
  bool forbids = false;
  for (CUgraph_st* graph : captures)
    if (graph->mode != cudaStreamCaptureModeRelaxed) forbids = graph->invalidated = true;
  return forbids;
}

std::mutex& launchMutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

void reset() {
  waitForAllStreams();
  clearFailure();
  std::lock_guard lock(stateMutex);
  sticky = cudaSuccess;
  lastError = cudaSuccess;
}

cudaError_t setFunctionAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  const Architecture* const chip = architecture();
  if (!chip) return report(cudaErrorInitializationError);
  if (value < 0 || value + staticSharedBytes(kernel) > chip->sharedPerBlockOptin) return report(cudaErrorInvalidValue);
  if (!loadCode(kernel)) return report(cudaErrorMemoryAllocation);
  std::lock_guard lock(stateMutex);
  maxDynamicShared[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t functionAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  const Architecture* const chip = architecture();
  if (!chip) return report(cudaErrorInitializationError);
  *attributes = {};
  attributes->sharedSizeBytes = staticSharedBytes(kernel);
  attributes->maxThreadsPerBlock = maxThreadsPerBlock;
  attributes->numRegs = 128;
  attributes->ptxVersion = attributes->binaryVersion = chip->name;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(maxDynamicSharedOf(kernel));
  return cudaSuccess;
}

cudaError_t maxActiveBlocks(int* blocks, const void* kernel, int blockSize, size_t dynamicBytes) {
  const Architecture* const chip = architecture();
  if (!chip) return report(cudaErrorInitializationError);
  const size_t bytes = dynamicBytes + staticSharedBytes(kernel);
  if (blockSize <= 0 || blockSize > maxThreadsPerBlock || bytes > chip->sharedPerBlockOptin) return report(cudaErrorInvalidValue);
  *blocks = std::min(chip->threadsPerMultiprocessor / blockSize, chip->blocksPerMultiprocessor);
  if (bytes) *blocks = std::min(*blocks, static_cast<int>(chip->sharedPerMultiprocessor / (bytes + chip->sharedReservedPerBlock())));
  return cudaSuccess;
}

namespace {

/// A launch's arguments, for the queue and for each graph that replays it. Counted under a mutex, which ThreadSanitizer sees in code that
/// it does not instrument, as it does not see an atomic counter.
class SharedArguments {
 public:
  explicit SharedArguments(const BoundKernel& kernel) : kernel_(kernel), count_(new int(1)) {}
  SharedArguments(const SharedArguments& other) : kernel_(other.kernel_), count_(other.count_) {
    std::lock_guard lock(mutex());
    ++*count_;
  }
  SharedArguments& operator=(const SharedArguments&) = delete;
  ~SharedArguments() {
    std::lock_guard lock(mutex());
    if (--*count_ > 0) return;
    delete count_;
    kernel_.destroy(kernel_.arguments);
  }
  const BoundKernel& kernel() const { return kernel_; }

 private:
  static std::mutex& mutex() {
    static std::mutex& mutex = *new std::mutex;
    return mutex;
  }

  BoundKernel kernel_;
  int* count_;
};

/// Whether the chip has code for a kernel: those of *_sm90.cu are compiled for Hopper alone (CMakeLists.txt).
bool hasCodeFor(const Architecture& chip, const void* kernel) {
  return chip.runsHopperKernels() || kernelInFile(kernel).find("_sm90.cu: ") == std::string::npos;
}

cudaError_t checkLaunch(const cudaLaunchConfig_t& config, const dim3& cluster, const void* kernel) {
  const Architecture* const chip = architecture();
  if (!chip) return cudaErrorInitializationError;
  if (!hasCodeFor(*chip, kernel)) return cudaErrorNoKernelImageForDevice;
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const uint64_t clusterSize = uint64_t{cluster.x} * cluster.y * cluster.z;
  if (threads == 0 || threads > maxThreadsPerBlock || block.z > 64) return cudaErrorInvalidConfiguration;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (clusterSize == 0 || clusterSize > 8 || grid.x % cluster.x || grid.y % cluster.y || grid.z % cluster.z)
    return cudaErrorInvalidConfiguration;
  if (clusterSize > 1 && !chip->hasClusters()) return cudaErrorInvalidConfiguration;
  // The second where the tests have made another chip of the device since somebody asked.
  const size_t most = std::min(maxDynamicSharedOf(kernel), chip->sharedPerBlockOptin - staticSharedBytes(kernel));
  if (config.dynamicSmemBytes > most) return cudaErrorInvalidValue;
  return loadCode(kernel) ? cudaSuccess : cudaErrorMemoryAllocation;
}

}  // namespace

cudaError_t enqueueLaunch(const cudaLaunchConfig_t& config, const BoundKernel& bound) {
  const SharedArguments arguments(bound);
  if (const cudaError_t error = deviceError()) return report(error);
  dim3 cluster = {1, 1, 1};
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttributeValue& value = config.attrs[i].val;
    if (config.attrs[i].id == cudaLaunchAttributeClusterDimension) cluster = {value.clusterDim.x, value.clusterDim.y, value.clusterDim.z};
  }
  if (const cudaError_t error = checkLaunch(config, cluster, bound.kernel)) return report(error);
  streamOf(config.stream)
      .enqueue([arguments, cluster, grid = config.gridDim, block = config.blockDim, sharedBytes = config.dynamicSmemBytes] {
        if (deviceError()) return;
        const BoundKernel& kernel = arguments.kernel();
        std::lock_guard lock(launchMutex());
        if (isDryRun()) return noteKernel(kernel.kernel);
        if (isFaulty(kernel.kernel)) return setDeviceError(cudaErrorIllegalAddress, "");
        if (!runLaunch(
                {kernel.kernel, grid, block, sharedBytes, cluster.x * cluster.y * cluster.z, cluster, kernel.invoke, kernel.arguments}))
          return setDeviceError(cudaErrorLaunchFailure, lastFailure());
        const std::string damage = damagedAllocation();
        if (!damage.empty()) setDeviceError(cudaErrorIllegalAddress, std::string("kernel ") + nameOfKernel(kernel.kernel) + ": " + damage);
      });
  return cudaSuccess;
}

}  // namespace repa::simt

using namespace repa::simt;

// ---- device

cudaError_t cudaGetDeviceCount(int* count) {
  if (!architecture()) return report(cudaErrorInitializationError);
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : report(cudaErrorInvalidDevice); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return report(cudaErrorInvalidDevice);
  const Architecture* const chip = architecture();
  if (!chip) return report(cudaErrorInitializationError);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "SIMT shim (CPU)");
  cudaMemGetInfo(&properties->totalGlobalMem, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = sharedPerBlock;
  properties->sharedMemPerBlockOptin = chip->sharedPerBlockOptin;
  properties->sharedMemPerMultiprocessor = chip->sharedPerMultiprocessor;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = maxThreadsPerBlock;
  properties->maxThreadsPerMultiProcessor = chip->threadsPerMultiprocessor;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 0x7fffffff;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->major = chip->major();
  properties->minor = chip->minor();
  properties->multiProcessorCount = multiprocessors;
  properties->l2CacheSize = 50 << 20;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return report(cudaErrorInvalidDevice);
  const Architecture* const chip = architecture();
  if (!chip) return report(cudaErrorInitializationError);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = maxThreadsPerBlock; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = sharedPerBlock; return cudaSuccess;
    case cudaDevAttrWarpSize: *value = 32; return cudaSuccess;
    case cudaDevAttrClockRate: *value = 1000000; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = multiprocessors; return cudaSuccess;
    case cudaDevAttrL2CacheSize: *value = 50 << 20; return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = chip->threadsPerMultiprocessor; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = chip->major(); return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = chip->minor(); return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(chip->sharedPerMultiprocessor); return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(chip->sharedPerBlockOptin); return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceSynchronize() {
  if (captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  waitForAllStreams();
  return report(deviceError());
}

cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  *name = nameOfKernel(kernel);
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// ---- errors

cudaError_t cudaPeekAtLastError() {
  const cudaError_t error = deviceError();
  return error ? error : lastError;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  lastError = cudaSuccess;
  return error;
}

namespace {

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText errorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice", "no kernel image is available for execution on the device"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorSymbolNotFound, "cudaErrorSymbolNotFound", "named symbol not found"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation", "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const ErrorText& textOf(cudaError_t error) {
  for (const ErrorText& entry : errorTexts)
    if (entry.error == error) return entry;
  return errorTexts[std::size(errorTexts) - 1];
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) { return textOf(error).name; }

const char* cudaGetErrorString(cudaError_t error) {
  // What failed, or which device there is not; a static string as CUDA's are, kept by the thread that asks.
  static thread_local std::string sentence;
  sentence = "";
  if (error == cudaErrorLaunchFailure || error == cudaErrorIllegalAddress) sentence = lastFailure();
  if (error == cudaErrorInitializationError && !architecture()) sentence = unknownArchitecture();
  return sentence.empty() ? textOf(error).text : sentence.c_str();
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *function = driverFunction(symbol);
  if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
