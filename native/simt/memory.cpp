// Device memory, pinned host memory, copies.
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "simt/device.h"
#include "simt/dry_run.h"
#include "simt/sanitizer.h"

#if defined(SIMT_TSAN)
extern "C" {
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
}
#endif

namespace repa::simt {

namespace {

/// Within its scope, locks order nothing for ThreadSanitizer: they are the shim's, and on a chip one stream does not wait for another so.
struct Unordered {
#if defined(SIMT_TSAN)
  Unordered() { AnnotateIgnoreSyncBegin("", 0); }
  ~Unordered() { AnnotateIgnoreSyncEnd("", 0); }
#else
  Unordered() {}
#endif
};

/// 8 GiB, or as many bytes as $REPA_SIMT_MEMORY says.
const size_t deviceBytes = [] {
  const char* text = std::getenv("REPA_SIMT_MEMORY");
  return text ? static_cast<size_t>(std::strtoull(text, nullptr, 10)) : size_t{8} << 30;
}();
constexpr size_t alignment = 256;  // as cudaMalloc promises
constexpr unsigned char guardByte = 0xA5;
#if defined(SIMT_ASAN)
constexpr size_t guardBytes = 0;  // malloc's red zones do better
#else
constexpr size_t guardBytes = 256;
#endif

std::mutex mutex;
auto& allocations = *new std::map<const unsigned char*, size_t>;  // by address, with their sizes
size_t allocatedBytes = 0;

std::mutex turnMutex;
auto& turnEnded = *new std::condition_variable;
bool turnTaken = false;

/// The allocation that holds the address. The caller holds the mutex.
std::map<const unsigned char*, size_t>::iterator find(const void* address) {
  auto after = allocations.upper_bound(static_cast<const unsigned char*>(address));
  if (after == allocations.begin()) return allocations.end();
  --after;
  return static_cast<const unsigned char*>(address) < after->first + after->second ? after : allocations.end();
}

cudaError_t copyNow(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind) {
  const bool toDevice = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool fromDevice = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const auto outside = [&](const void* address, const char* role) {
    char text[200];
    std::snprintf(text, sizeof text, "cudaMemcpyAsync of %zu bytes: the %s %p .. is not within one allocation of device memory.", bytes,
                  role, address);
    setDeviceError(cudaErrorIllegalAddress, text);
    return cudaErrorIllegalAddress;
  };
  if (toDevice && !inDeviceMemory(destination, bytes)) return outside(destination, "destination");
  if (fromDevice && !inDeviceMemory(source, bytes)) return outside(source, "source");
  const DeviceMemoryTurn turn;
  if (!isDryRun()) {
    std::memmove(destination, source, bytes);
  } else if (!toDevice) {
    std::memset(destination, 0, bytes);
  }
  return cudaSuccess;
}

}  // namespace

bool inDeviceMemory(const void* address, size_t bytes) {
  if (bytes == 0) return true;
  std::lock_guard lock(mutex);
  const auto allocation = find(address);
  return allocation != allocations.end() && static_cast<const unsigned char*>(address) + bytes <= allocation->first + allocation->second;
}

bool isDeviceMemory(const void* address) {
  std::lock_guard lock(mutex);
  return find(address) != allocations.end();
}

std::vector<std::pair<unsigned char*, size_t>> deviceAllocations() {
  std::lock_guard lock(mutex);
  std::vector<std::pair<unsigned char*, size_t>> all;
  for (const auto& [address, bytes] : allocations) all.emplace_back(const_cast<unsigned char*>(address), bytes);
  return all;
}

bool takeForDriver(size_t bytes) {
  std::lock_guard lock(mutex);
  if (bytes > deviceBytes - allocatedBytes) return false;
  allocatedBytes += bytes;
  return true;
}

DeviceMemoryTurn::DeviceMemoryTurn() {
  const Unordered unordered;
  std::unique_lock lock(turnMutex);
  turnEnded.wait(lock, [] { return !turnTaken; });
  turnTaken = true;
}

DeviceMemoryTurn::~DeviceMemoryTurn() {
  const Unordered unordered;
  {
    std::lock_guard lock(turnMutex);
    turnTaken = false;
  }
  turnEnded.notify_one();
}

std::string damagedAllocation() {
  if (guardBytes == 0) return "";
  static const std::string& intact = *new std::string(guardBytes, static_cast<char>(guardByte));
  Quiet quiet;
  std::lock_guard lock(mutex);
  const auto isIntact = [](const unsigned char* guard) { return std::memcmp(guard, intact.data(), guardBytes) == 0; };
  for (const auto& [address, bytes] : allocations) {
    if (isIntact(address - guardBytes) && isIntact(address + bytes)) continue;
    for (size_t i = 0; i < guardBytes; ++i) {
      const bool after = address[bytes + i] != guardByte;
      if (!after && address[-1 - static_cast<ptrdiff_t>(i)] == guardByte) continue;
      return "it wrote " + std::to_string(i) + " bytes " + (after ? "past the end" : "before the beginning") + " of an allocation of " +
             std::to_string(bytes) + " bytes of device memory.";
    }
  }
  return "";
}

}  // namespace repa::simt

using namespace repa::simt;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (deviceError()) return report(deviceError());
  if (captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) {
    *pointer = nullptr;
    return cudaSuccess;
  }
  std::lock_guard lock(mutex);
  if (bytes > deviceBytes - allocatedBytes) return report(cudaErrorMemoryAllocation);
  const size_t front = guardBytes ? alignment : 0;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, front + bytes + guardBytes)) return report(cudaErrorMemoryAllocation);
  auto* begin = static_cast<unsigned char*>(memory) + front;
  std::memset(begin - front, guardByte, front);
  if (!isDryRun()) std::memset(begin, 0xff, bytes);  // NaN, so that reading what nobody wrote shows
  std::memset(begin + bytes, guardByte, guardBytes);
  allocations[begin] = bytes;
  allocatedBytes += bytes;
  *pointer = begin;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  waitForAllStreams();
  std::lock_guard lock(mutex);
  const auto allocation = allocations.find(static_cast<const unsigned char*>(pointer));
  if (allocation == allocations.end()) return report(cudaErrorInvalidValue);
  allocatedBytes -= allocation->second;
  allocations.erase(allocation);
  std::free(static_cast<unsigned char*>(pointer) - (guardBytes ? alignment : 0));
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  if (captureForbids()) return report(cudaErrorStreamCaptureUnsupported);
  *pointer = nullptr;
  if (bytes && posix_memalign(pointer, 4096, bytes)) return report(cudaErrorMemoryAllocation);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (deviceError()) return report(deviceError());
  if (bytes == 0) return cudaSuccess;
  streamOf(stream).enqueue([=] {
    if (!deviceError()) copyNow(destination, source, bytes, kind);
  });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* destination, const void* source, size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpyAsync(destination, source, bytes, kind, nullptr);
  return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  if (deviceError()) return report(deviceError());
  if (bytes == 0) return cudaSuccess;
  streamOf(stream).enqueue([=] {
    if (deviceError()) return;
    if (!inDeviceMemory(pointer, bytes)) {
      setDeviceError(cudaErrorIllegalAddress,
                     "cudaMemsetAsync of " + std::to_string(bytes) + " bytes reaches outside of an allocation of device memory.");
      return;
    }
    const DeviceMemoryTurn turn;
    if (!isDryRun()) std::memset(pointer, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  const cudaError_t error = cudaMemsetAsync(pointer, value, bytes, nullptr);
  return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard lock(mutex);
  *free = deviceBytes - allocatedBytes;
  *total = deviceBytes;
  return cudaSuccess;
}
