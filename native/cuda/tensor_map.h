// What tells the tensor memory accelerator how a matrix lies in global memory (PTX ISA 5.5).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "core/dtype.h"

namespace repa::cuda {

/// A row-major matrix of bf16, f16 or f32 that is copied in boxes of boxRows x boxColumns, a line of 128 bytes at most each row, swizzled over
/// 128 bytes. `base` and the rows, `pitch` elements apart, stand at multiples of 16 bytes. What lies beyond the matrix is read as zeros.
CUtensorMap matrixMap(DType dtype, const void* base, int64_t rows, int64_t columns, int64_t pitch, int boxRows, int boxColumns);

/// Rows of samples, [batch, tokens, columns] of bf16 or f16, row-major and dense, with coordinates {column, token, sample}: boxes of boxRows
/// tokens of a sample and boxColumns columns, row after row. 64 columns, lines of 128 bytes, and 32, lines of 64, are swizzled over those;
/// others are not.
/// `columns` is a multiple of 8 and `base` of 16 bytes. What lies beyond the tokens is read as zeros and not written.
CUtensorMap rowsOfSamplesMap(DType dtype, const void* base, int64_t batch, int64_t tokens, int64_t columns, int boxRows, int boxColumns);

}  // namespace repa::cuda
