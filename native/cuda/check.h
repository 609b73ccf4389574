// Errors of the CUDA runtime as exceptions.
#pragma once

#include <cuda_runtime.h>

#include "core/error_code.h"

namespace repa::cuda {

/// Throws Error(outOfMemory or failed) that says what was being done. `what` completes "CUDA failed to ...".
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is reported here, so the next call must not find it again
  throwError(error == cudaErrorMemoryAllocation ? ErrorCode::outOfMemory : ErrorCode::failed, "CUDA failed to %s: %s (%s).", what,
             cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace repa::cuda
