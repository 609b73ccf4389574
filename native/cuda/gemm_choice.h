// Which kernel computes a product, by measurement (REPA_GEMM=auto): one of our own or, where there is a cuBLASLt, one of the algorithms that it
// proposes.
#pragma once

#include <span>

#include "core/device.h"
#include "cuda/gemm.h"

namespace repa::cuda {

/// The plan of the products that was fastest on this GPU with this cuBLASLt (measured_choice.h): measured, the first time, on the products'
/// own operands, into memory of its own; the queue is waited for. Throws, besides, where there is a cuBLASLt that cannot be used.
GemmPlan fastestGemm(cudaStream_t stream, Device& device, const CudaDeviceInfo& info, std::span<const GemmArgs> products);

}  // namespace repa::cuda
