// The one way to launch a kernel.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/check.h"
#include "cuda/spare_memory.h"

namespace repa::cuda {

struct LaunchShape {
  dim3 grid = {};
  dim3 block = {};
  size_t sharedBytes = 0;  // dynamic
  unsigned cluster = 1;    // blocks along x that run together and see each other's shared memory; sm_90
};

/// What CUDA is told of a launch besides the kernel and its arguments.
struct LaunchConfiguration {
  /// Lets `kernel` have the shape's shared memory.
  LaunchConfiguration(cudaStream_t stream, const void* kernel, const LaunchShape& shape);
  LaunchConfiguration(const LaunchConfiguration&) = delete;
  LaunchConfiguration& operator=(const LaunchConfiguration&) = delete;

  cudaLaunchAttribute cluster = {};
  cudaLaunchConfig_t config = {};  // refers to `cluster`
};

[[noreturn]] void throwRefused(cudaError_t error, const void* kernel, const LaunchShape& shape);

/// Enqueues kernel(arguments...). Throws an Error that names the kernel and the shape if CUDA refuses it, Error(shape) where it is the shape
/// that it refuses; what goes wrong while it runs is reported by later calls on the stream.
template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, void (*kernel)(Parameters...), const LaunchShape& shape, const Arguments&... arguments) {
  const auto* const address = reinterpret_cast<const void*>(kernel);
  const LaunchConfiguration configuration(stream, address, shape);
  const cudaError_t error = withSpareMemory([&] { return cudaLaunchKernelEx(&configuration.config, kernel, arguments...); });
  if (error != cudaSuccess) throwRefused(error, address, shape);
}

}  // namespace repa::cuda
