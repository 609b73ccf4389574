// Turns a CUDA error into an exception.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"

namespace repa::cuda {

/// `what` names what was asked for: "an event", a kernel's name.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw Error(ErrorCode::failed, std::string(what) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")");
}

}  // namespace repa::cuda
