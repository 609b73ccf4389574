// Matrix multiplication with a fused epilogue, fp32: C = epilogue(op(A) op(B)).
//
// All matrices are row-major. op(A) is [m, k]: A itself is [m, k] with row stride lda, or [k, m] when transA.
// op(B) is [k, n]: B itself is [k, n] with row stride ldb, or [n, k] when transB. C is [m, n] with row stride ldc.
// For a linear layer y = x Wᵀ + b with W [out, in] as torch stores it:
//     forward   y  = x · Wᵀ       transB                          m = tokens, n = out, k = in
//     dgrad     dx = dy · W                                       m = tokens, n = in,  k = out
//     wgrad     dW = dyᵀ · x      transA, accumulate as wanted    m = out,    n = in,  k = tokens
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// What happens to acc = op(A) op(B) on its way to C. Every row index is C's row, every column index C's column.
enum class GemmEpilogueKind {
  none,              ///< C = acc, or C += acc with `accumulate`
  bias,              ///< C = acc + bias
  biasGeluTanh,      ///< p = acc + bias; C = gelu(p), tanh form; aux = p
  biasGeluErf,       ///< p = acc + bias; C = gelu(p), exact; aux = p
  biasQuickGelu,     ///< p = acc + bias; C = p sigmoid(1.702 p); aux = p
  biasSilu,          ///< p = acc + bias; C = p sigmoid(p); aux = p
  biasRelu,          ///< C = max(acc + bias, 0)
  biasGatedResidual, ///< y = acc + bias; C = residual + gate[row / rowsPerGate] * y; aux = y
  biasAddend,        ///< C = acc + bias + addend[row % addendRows]
  biasAddendRelu,    ///< C = max(acc + bias + addend[row % addendRows], 0)
  geluTanhBackward,  ///< C = acc * gelu'(aux), tanh form: the gradient with respect to the pre-activation
  geluErfBackward,   ///< C = acc * gelu'(aux), exact
  quickGeluBackward, ///< C = acc * quickGelu'(aux)
  siluBackward,      ///< C = acc * silu'(aux)
};

struct GemmEpilogue {
  GemmEpilogueKind kind = GemmEpilogueKind::none;

  /// [n], or null for no bias.
  const float* bias = nullptr;

  /// [m, n]. Forward kinds write it, and skip that when it is null; backward kinds read it: the stored pre-activation.
  float* aux = nullptr;
  int64_t auxStride = 0;

  /// biasGatedResidual: residual [m, n] (it may be C itself), gate [ceil(m / rowsPerGate), n]. gateStride is free, so
  /// that a gate may be one sixth of an adaLN row; 0: all rows have one gate [n], as LayerScale's γ is.
  const float* residual = nullptr;
  int64_t residualStride = 0;
  const float* gate = nullptr;
  int64_t gateStride = 0;
  int64_t rowsPerGate = 1;

  /// biasAddend, biasAddendRelu: [addendRows, n], repeated down the rows (positional embedding: addendRows = tokens of one image).
  const float* addend = nullptr;
  int64_t addendStride = 0;
  int64_t addendRows = 1;
};

struct GemmArgs {
  bool transA = false;
  bool transB = false;
  int64_t m = 0;
  int64_t n = 0;
  /// k = 0 is legal: acc is zero and the epilogue still runs.
  int64_t k = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  /// Either b, or packedB as gemmKernels().packB left it (transB and ldb then have no say).
  const float* b = nullptr;
  int64_t ldb = 0;
  const float* packedB = nullptr;
  /// Overlaps neither A nor B. aux, residual and addend either are C itself (element for element) or do not overlap it.
  float* c = nullptr;
  int64_t ldc = 0;
  /// C += acc; only with GemmEpilogueKind::none.
  bool accumulate = false;
  GemmEpilogue epilogue;
  /// scratchFloats(args, pool.threads()) floats, aligned to 64 bytes. Its contents need not survive between calls.
  float* scratch = nullptr;
};

struct GemmPackBArgs {
  bool transB = false;
  int64_t n = 0;
  int64_t k = 0;
  const float* b = nullptr;
  int64_t ldb = 0;
  /// packedBFloats(n, k) floats, aligned to 64 bytes.
  float* packed = nullptr;
};

struct GemmKernels {
  /// C = epilogue(op(A) op(B)). The same bits for any number of threads. b and packedB give the same bits too, except
  /// where m <= 32 (an unpacked B is then read once, in place) or B has more than 8 Mi elements (packed in segments):
  /// there the sums run in another order.
  void (*gemm)(ThreadPool& pool, const GemmArgs& args);

  /// Depends on the shapes, transA, transB, lda, the epilogue's kind and whether packedB is null, never on the data.
  /// At most 32 MiB for an unpacked B, and some 300 KiB per thread.
  int64_t (*scratchFloats)(const GemmArgs& args, int threads);

  /// Rearranges op(B) as the inner loop reads it: worth it when a weight meets more than one product (sampling, frozen
  /// encoders). The layout is private to the CPU level.
  void (*packB)(ThreadPool& pool, const GemmPackBArgs& args);
  int64_t (*packedBFloats)(int64_t n, int64_t k);
};

REPA_CPU_KERNELS(GemmKernels, gemmKernels);

}  // namespace repa::cpu
