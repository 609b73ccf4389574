// How much dynamic shared memory a kernel may be launched with.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace repa::cuda {

/// Lets launches of `kernel` on the current device have so many bytes. The limit is the function's, whoever launches it: it is raised and
/// never lowered, for another thread may be about to launch with more, or a graph hold a launch with more.
cudaError_t allowDynamicShared(const void* kernel, size_t bytes);

}  // namespace repa::cuda
