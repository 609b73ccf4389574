// The one way to launch a kernel.
#pragma once

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/dynamic_shared.h"

namespace repa::cuda {

struct LaunchShape {
  dim3 grid = {};
  dim3 block = {};
  size_t sharedBytes = 0;  // dynamic
  unsigned cluster = 1;    // blocks along x that run together and see each other's shared memory; sm_90
};

/// The kernel's name for an error's sentence.
inline std::string kernelName(const void* kernel) {
  const char* symbol = nullptr;
  if (cudaFuncGetName(&symbol, kernel) != cudaSuccess || !symbol) return "a kernel";
  int status = 0;
  char* readable = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  const std::string name = status == 0 ? readable : symbol;
  std::free(readable);
  return name;
}

/// Enqueues kernel(arguments...). Throws an Error that names the kernel and the shape if CUDA refuses it, Error(shape) where it is the shape
/// that it refuses; what goes wrong while it runs is reported by later calls on the stream.
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... arguments) {
  cudaError_t error = allowDynamicShared(reinterpret_cast<const void*>(kernel), shape.sharedBytes);
  if (error == cudaSuccess) {
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = shape.cluster;
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.sharedBytes;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = shape.cluster > 1 ? 1 : 0;
    error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
  }
  if (error == cudaSuccess) return;
  cudaGetLastError();
  const auto text = [](const dim3& size) { return std::to_string(size.x) + "x" + std::to_string(size.y) + "x" + std::to_string(size.z); };
  const ErrorCode code = error == cudaErrorMemoryAllocation ? ErrorCode::outOfMemory
                         : error == cudaErrorInvalidConfiguration ? ErrorCode::shape
                                                                  : ErrorCode::failed;
  throw Error(code,
              "CUDA refused to launch " + kernelName(reinterpret_cast<const void*>(kernel)) + " with a grid of " + text(shape.grid) +
                  " blocks of " + text(shape.block) + " threads and " + std::to_string(shape.sharedBytes) +
                  " bytes of shared memory: " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ").");
}

}  // namespace repa::cuda
