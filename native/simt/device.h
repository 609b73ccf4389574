// The one device: its state between the calls of the runtime API.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "simt/runtime_api.h"
#include "simt/stream.h"

namespace repa::simt {

/// cudaErrorLaunchFailure once a launch has failed, cudaErrorIllegalAddress after a bad copy; stays.
cudaError_t deviceError();
void setDeviceError(cudaError_t error, const std::string& sentence);

/// Remembers an error for cudaGetLastError.
cudaError_t report(cudaError_t error);

/// The stream of a handle; null is the default stream.
CUstream_st& streamOf(cudaStream_t stream);
void waitForAllStreams();
void registerStream(CUstream_st* stream);
/// False if there is no such stream.
bool forgetStream(CUstream_st* stream);
void registerCapture(CUgraph_st* graph);
void forgetCapture(CUgraph_st* graph);
/// Whether it is under way.
bool isCapture(CUgraph_st* graph);

/// Whether captures under way forbid a call that needs a device to itself. There will be no graph of these, for it has been tried.
bool captureForbids();

/// Kernels run one at a time.
std::mutex& launchMutex();

/// The driver API's functions that are had by name; null for one that is not there.
void* driverFunction(const char* symbol);

/// The device's memory.
bool inDeviceMemory(const void* address, size_t bytes);
bool isDeviceMemory(const void* address);
/// Every allocation, with its size.
std::vector<std::pair<unsigned char*, size_t>> deviceAllocations();
/// Around whatever writes to the device's memory from outside of a kernel, and around a launch that nobody may disturb. No mutex, which
/// the thread that locked it would have to unlock: a kernel's thread may be a fiber of its own.
class DeviceMemoryTurn {
 public:
  DeviceMemoryTurn();
  ~DeviceMemoryTurn();
  DeviceMemoryTurn(const DeviceMemoryTurn&) = delete;
  DeviceMemoryTurn& operator=(const DeviceMemoryTurn&) = delete;
};
/// Memory for the driver's own use, which nobody can free; false where there is none.
bool takeForDriver(size_t bytes);
/// "" or a sentence about memory next to an allocation that was written.
std::string damagedAllocation();

}  // namespace repa::simt
