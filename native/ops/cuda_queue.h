// How an op reaches its CUDA kernels. After its checks and with its outputs allocated, it says
//     if constexpr (kBuiltWithCuda)
//       if (CudaDevice* cuda = cudaQueue(x)) {
//         cuda->enqueue(op, [&](cudaStream_t stream) { cuda::gatedResidual(stream, x, y, modulation, gateChunk, out); });
//         return out;
//       }
// and goes on with the CPU's. A build without CUDA compiles that away, and needs none of its symbols.
#pragma once

#include "core/tensor.h"
#include "cuda/cuda_device.h"

namespace repa::ops {

/// The GPU on which `tensor` lives, or null where it lives on the CPU.
inline CudaDevice* cudaQueue(const Tensor& tensor) { return dynamic_cast<CudaDevice*>(&tensor.device()); }

}  // namespace repa::ops
