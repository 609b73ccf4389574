// What tells the tensor memory accelerator how a matrix lies in global memory (PTX ISA 5.5).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "core/dtype.h"

namespace repa::cuda {

/// A row-major matrix of bf16, f16 or f32 that is copied in boxes of boxRows x boxColumns, a line of 128 bytes at most each row, swizzled over
/// 128 bytes. `base` and the rows, `pitch` elements apart, stand at multiples of 16 bytes. What lies beyond the matrix is read as zeros.
CUtensorMap matrixMap(DType dtype, const void* base, int64_t rows, int64_t columns, int64_t pitch, int boxRows, int boxColumns);

}  // namespace repa::cuda
