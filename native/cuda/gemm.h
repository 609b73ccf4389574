// Matrix products of linear layers on a GPU, each with what follows it fused into the write of its result.
//
// For a layer y = x Wᵀ + b with W [out, in] as torch stores it, all matrices row-major and none ever transposed in memory:
//     forward         y  = x · Wᵀ      A [m, k], B [n, k]      m = rows, n = out, k = in
//     inputGradient   dx = dy · W      A [m, k], B [k, n]      m = rows, n = in,  k = out
//     weightGradient  dW = dyᵀ · x     A [k, m], B [k, n]      m = out,  n = in,  k = rows
//
// Results are the same bits at every run. In forward and inputGradient a row's do not depend on how many other rows there are; a
// weight gradient's sums over the rows are cut where that fills the GPU, so they depend on its number of multiprocessors. (By cuBLASLt,
// which only computes where it is asked to, a row's bits do depend on the others.)
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "cuda/handles.h"

namespace repa {

struct CudaDeviceInfo;

}  // namespace repa

namespace repa::cuda {

enum class GemmLayout : uint8_t { forward, inputGradient, weightGradient };

/// What happens to acc = Σ A B on its way to C. Every row index is C's row, every column index C's column. An activation is of p as the
/// operands' dtype holds it, which is what aux keeps. A kernel is made for its layout's kinds alone: bias... are of forward (and Relu of
/// convolutions, which conv2d.cu computes), ...Backward of inputGradient.
enum class GemmEpilogueKind : uint8_t {
  none,               // C = acc, or C += acc with `accumulate`
  bias,               // C = acc + bias
  biasSilu,           // p = acc + bias; C = silu(p); aux = p
  biasRelu,           // C = max(acc + bias, 0)
  biasGeluTanh,       // p = acc + bias; C = gelu(p), tanh form; aux = p
  biasGeluErf,        // p = acc + bias; C = gelu(p), exact; aux = p
  biasQuickGelu,      // p = acc + bias; C = p sigmoid(1.702 p); aux = p
  biasGatedResidual,  // y = acc + bias; C = residual + gate[row / rowsPerGate] * y; aux = y
  biasAddend,         // C = acc + bias + addend[row % addendRows]
  biasAddendRelu,     // C = max(acc + bias + addend[row % addendRows], 0)
  // Those of gradients are the last (isBackward).
  siluBackward,       // C = acc * silu'(aux)
  geluTanhBackward,   // C = acc * gelu'(aux), tanh form
  geluErfBackward,    // C = acc * gelu'(aux), exact
  quickGeluBackward,  // C = acc * quickGelu'(aux)
};

/// Whether a kind is of an activation's gradient, which reads aux; others write it.
constexpr bool isBackward(GemmEpilogueKind kind) { return kind >= GemmEpilogueKind::siluBackward; }

struct GemmEpilogue {
  GemmEpilogueKind kind = GemmEpilogueKind::none;

  /// [n], or null for no bias.
  const float* bias = nullptr;

  /// [m, n] of the operands' dtype. Forward kinds write it, and skip that when it is null; backward kinds read it: the stored
  /// pre-activation.
  void* aux = nullptr;
  int64_t auxStride = 0;

  /// biasGatedResidual: residual [m, n] (it may be C itself), gate [ceil(m / rowsPerGate), n]. gateStride is free, so that a gate may
  /// be one sixth of an adaLN row; 0: all rows have one gate [n], as LayerScale's γ is.
  const float* residual = nullptr;
  int64_t residualStride = 0;
  const float* gate = nullptr;
  int64_t gateStride = 0;
  int64_t rowsPerGate = 1;

  /// biasAddend, biasAddendRelu: [addendRows, n], repeated down the rows.
  const float* addend = nullptr;
  int64_t addendStride = 0;
  int64_t addendRows = 1;

  /// inputGradient: [n], or null: gets, or with `accumulateColumnSums` is increased by, the sums of C's columns. What a backward kind writes
  /// is the gradient of the layer below, and these are its bias's.
  float* columnSums = nullptr;
  bool accumulateColumnSums = false;
};

struct GemmArgs {
  GemmLayout layout = GemmLayout::forward;
  /// Of A and B: f32, bf16 or f16. Sums are f32.
  DType dtype = DType::f32;
  /// Lets f32 operands be rounded to tf32's 10 bits of significand, for the tensor cores' sake.
  bool allowTf32 = false;
  int64_t m = 0;
  int64_t n = 0;
  /// k = 0 is legal: acc is zero and the epilogue still runs.
  int64_t k = 0;
  /// Any alignment is legal; multiples of 16 bytes, of the leading dimensions (elements from row to row) too, are fast.
  const void* a = nullptr;
  int64_t lda = 0;
  const void* b = nullptr;
  int64_t ldb = 0;
  /// f32 or the operands' dtype. Overlaps neither A nor B; aux, residual and addend either are C itself or do not overlap it.
  void* c = nullptr;
  int64_t ldc = 0;
  DType cDType = DType::f32;
  /// weightGradient: C += acc; only with a C of f32.
  bool accumulate = false;
  GemmEpilogue epilogue;
};

/// What computes a product.
enum class GemmBackend : uint8_t {
  ffma,   // f32 to its last bit (gemm_ffma.cu)
  mma,    // tensor cores from sm_80 on: bf16, f16, and f32 rounded to tf32 (gemm_mma.cu)
  wgmma,  // Hopper's, for bf16 and f16 operands whose rows are multiples of 16 bytes (gemm_sm90.cu)
  cublasLt,  // NVIDIA's library, where it is there and asked for (cublaslt.h)
};

/// Of C, what a block computes at a time.
struct GemmTile {
  int rows, columns;
  friend constexpr bool operator==(GemmTile, GemmTile) = default;
};

/// ROWSxCOLUMNS.
std::string nameOf(GemmTile tile);

/// What is asked for: the best of the own kernels, one of them, or cuBLASLt, wherever the device and the operands let it; or whatever
/// measures fastest (gemm_choice.h).
enum class GemmMaker : uint8_t { own, mma, wgmma, cublasLt, fastest };
struct GemmWish {
  GemmMaker maker = GemmMaker::own;
  /// Wherever Hopper's kernel has it for the product (gemm_sm90.h); else, and where it does not, the standard one.
  std::optional<GemmTile> tile = {};
};

/// The environment variable REPA_GEMM. Throws where it is none of mma, wgmma, wgmma-ROWSxCOLUMNS, cublaslt and auto.
GemmWish gemmWish();

/// How products that share a launch are computed.
struct GemmPlan {
  GemmBackend backend;
  /// Of the own kernels.
  GemmTile tile;
  /// By product: into how many parts its sum over k is cut. The parts are summed in order by a second kernel.
  std::vector<int> splits;
  /// By product: which of cuBLASLt's algorithms.
  std::vector<int> algorithms;
  int64_t scratchBytes;
};

/// The tiles in which the own kernels can compute products that share a launch, the standard one first: the bits do not depend on it, but
/// where weight gradients' sums are cut.
std::vector<GemmTile> gemmTiles(const CudaDeviceInfo& device, std::span<const GemmArgs> products);

/// The products share layout, dtype and allowTf32; only weight gradients may be more than one. Throws where a size is beyond 2^30, or where
/// what follows a product is not of its layout.
GemmPlan planGemm(const CudaDeviceInfo& device, std::span<const GemmArgs> products, GemmWish wish);

/// By those of cuBLASLt's algorithms, one for each product.
GemmPlan planCublasLt(std::span<const GemmArgs> products, std::vector<int> algorithms);

/// `scratch`: plan.scratchBytes bytes, aligned to 256.
void gemm(cudaStream_t stream, const GemmPlan& plan, std::span<const GemmArgs> products, void* scratch);

}  // namespace repa::cuda
