// Products by cuBLASLt, where a machine has it. It computes bare products: where an epilogue is asked for, the sums go through f32
// scratch and the project's own kernel (gemm_sums.cu) makes the rest of them, with the same rounding as behind the own products. (Its
// own epilogues want a bias of C's dtype, and ours are f32.)
//
// Deterministic: of the ways to split a sum only that is allowed which adds the parts in f32 and in order. But it may choose another
// algorithm for another number of rows, so that a row's bits depend on it, as the own kernels' do not.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>

#include "cuda/gemm.h"

namespace repa::cuda {

/// How many of its heuristics' algorithms are considered.
constexpr int kMostAlgorithms = 8;

/// Whether it computes all of the products: 16-bit operands, or f32 ones that may be rounded to tf32, with rows at multiples of 16 bytes,
/// for which it has an algorithm. Throws where there is no cuBLASLt.
bool cublasLtTakes(std::span<const GemmArgs> products);

/// Of bytes, the largest power of two that divides the address, up to 256: all that its algorithms depend on of a pointer.
uint32_t cublasLtAlignment(const void* pointer);

/// How many algorithms it offers for a product of operands as above, at most kMostAlgorithms, from what it holds to be the fastest on; 0
/// where it has none.
int cublasLtAlgorithms(const GemmArgs& args);

/// Scratch of the product by one of those algorithms, in bytes, a multiple of 256.
int64_t cublasLtScratchBytes(const GemmArgs& args, int algorithm);

/// Computes it. `scratch`: aligned to 256.
void cublasLtGemm(cudaStream_t stream, const GemmArgs& args, int algorithm, void* scratch);

}  // namespace repa::cuda
