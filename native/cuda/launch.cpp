#include "cuda/launch.h"

#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

#include "core/error.h"

namespace repa::cuda {

namespace {

/// Lets launches of `kernel` on the current device have so many bytes of dynamic shared memory. The limit is the function's, whoever launches
/// it: it is raised and never lowered, for another thread may be about to launch with more, or a graph hold a launch with more.
cudaError_t allowDynamicShared(const void* kernel, size_t bytes) {
  // Without asking a kernel may have 48 KB, of which its static shared memory, not known here, is a part.
  if (bytes == 0) return cudaSuccess;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  static auto& mutex = *new std::mutex;
  static auto& allowed = *new std::map<std::pair<const void*, int>, size_t>;
  const std::lock_guard lock(mutex);
  size_t& most = allowed[{kernel, device}];
  if (bytes <= most) return cudaSuccess;
  const cudaError_t error = withSpareMemory(
      [&] { return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)); });
  if (error == cudaSuccess) most = bytes;
  return error;
}

std::string nameOf(const void* kernel) {
  const char* symbol = nullptr;
  if (cudaFuncGetName(&symbol, kernel) != cudaSuccess || !symbol) return "a kernel";
  int status = 0;
  char* readable = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  const std::string name = status == 0 ? readable : symbol;
  std::free(readable);
  return name;
}

std::string text(const dim3& size) { return std::to_string(size.x) + "x" + std::to_string(size.y) + "x" + std::to_string(size.z); }

}  // namespace

LaunchConfiguration::LaunchConfiguration(cudaStream_t stream, const void* kernel, const LaunchShape& shape) {
  if (const cudaError_t error = allowDynamicShared(kernel, shape.sharedBytes); error != cudaSuccess) throwRefused(error, kernel, shape);
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = shape.cluster;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.sharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
}

void throwRefused(cudaError_t error, const void* kernel, const LaunchShape& shape) {
  cudaGetLastError();
  const ErrorCode code = error == cudaErrorMemoryAllocation ? ErrorCode::outOfMemory
                         : error == cudaErrorInvalidConfiguration ? ErrorCode::shape
                                                                  : ErrorCode::failed;
  // A fault of earlier work comes to light here too.
  const std::string verb = code == ErrorCode::failed ? "failed" : "refused";
  throw Error(code,
              "CUDA " + verb + " to launch " + nameOf(kernel) + " with a grid of " + text(shape.grid) + " blocks of " + text(shape.block) +
                  " threads and " + std::to_string(shape.sharedBytes) + " bytes of shared memory: " + cudaGetErrorString(error) + " (" +
                  cudaGetErrorName(error) + ")." + (code == ErrorCode::outOfMemory ? " Use a smaller batch or model." : ""));
}

}  // namespace repa::cuda
