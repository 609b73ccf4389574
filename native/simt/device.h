// The one device: its state between the calls of the runtime API.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <set>
#include <string>

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

/// Whether captures under way forbid a call that needs a device to itself. There will be no graph of these, for it has been tried.
bool captureForbids();

/// Kernels run one at a time.
std::mutex& launchMutex();

/// The driver API's functions that are had by name; null for one that is not there.
void* driverFunction(const char* symbol);

/// The device's memory.
bool inDeviceMemory(const void* address, size_t bytes);
bool isDeviceMemory(const void* address);
/// "" or a sentence about memory next to an allocation that was written.
std::string damagedAllocation();

}  // namespace repa::simt
