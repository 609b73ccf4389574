// Which kernel computes a product, by measurement (REPA_GEMM=auto): the own one, or one of the algorithms that cuBLASLt proposes.
//
// A measurement is never twice the same, and another algorithm gives other bits. So every choice is made once and kept in a file,
// which later runs read: two runs give the same bits, as everywhere. Without REPA_GEMM=auto nothing is measured.
#pragma once

#include <span>

#include "core/device.h"
#include "cuda/gemm.h"

namespace repa::cuda {

/// The plan of the products that was fastest on this GPU with this cuBLASLt: as the file of choices has it, or, the first time, as
/// measured now, on the products' own operands, into memory of its own; the queue is waited for. The file is what the environment
/// variable REPA_GEMM_CHOICES names, else gemm-choices.txt in the user's cache.
///
/// Throws where there is no cuBLASLt, where the file cannot be read or written, and where there is something to be measured while a
/// step is captured.
GemmPlan fastestGemm(cudaStream_t stream, Device& device, const CudaDeviceInfo& info, std::span<const GemmArgs> products);

}  // namespace repa::cuda
