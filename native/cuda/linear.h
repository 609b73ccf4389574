// The CUDA kernels of ops/linear.h. Arguments were checked there; undefined tensors are those that nobody asked for.
#pragma once

#include <optional>
#include <span>

#include "core/tensor.h"
#include "cuda/gemm.h"

namespace repa::cuda {

/// `kind`: a bias, with an activation or without.
void linear(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, GemmEpilogueKind kind, const Tensor& out,
            const Tensor& pre);

void linearGatedResidual(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                         const Tensor& modulation, int64_t gateChunk, const Tensor& out, const Tensor& y);

void linearScaledResidual(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                          const Tensor& scale, const Tensor& out);

void linearAddend(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& addend, const Tensor& out);

/// `kind`: none, or an activation's backward kind.
void linearInputGradient(cudaStream_t stream, const Tensor& dOut, const Tensor& weight, const std::optional<Tensor>& pre, GemmEpilogueKind kind,
                         const Tensor& dX, const std::optional<Tensor>& dBias, bool accumulateBias);

/// dWeight[i] (+)= dOut[i]ᵀ x[i], all in one launch.
void linearWeightGradients(cudaStream_t stream, std::span<const Tensor> dOut, std::span<const Tensor> x, std::span<const Tensor> dWeight, bool accumulate);

}  // namespace repa::cuda
