// The CUDA kernel that makes a matrix's rows longer. Arguments were checked by its caller.
#pragma once

#include "core/tensor.h"
#include "cuda/handles.h"

namespace repa::cuda {

/// x [rows, n] -> out [rows, n' >= n] of the same 16-bit dtype: zeros behind each row's last element.
void padRows(cudaStream_t stream, const Tensor& x, const Tensor& out);

}  // namespace repa::cuda
