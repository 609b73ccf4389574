#include "ops/linear.h"

#include <span>

#include "cpu/gemm.h"
#include "cuda/linear.h"
#include "ops/activation.h"
#include "ops/last_axis.h"
#include "ops/modulation.h"
#include "ops/reduction.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

using cpu::GemmArgs;
using cpu::GemmEpilogueKind;

void enqueueGemm(const char* op, CpuDevice& queue, GemmArgs args) {
  const Tensor scratch = scratchFloats(queue, cpu::gemmKernels().scratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::gemmKernels().gemm(pool, args); });
}

void requireForward(const char* op, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  requireCompute(op, "x", x);
  requireRank(op, "weight", weight, 2, "[out, in]", x.dtype());
  const int64_t out = weight.size(0), in = weight.size(1);
  if (x.shape().rank() < 1 || x.size(-1) != in)
    fail(ErrorCode::shape, op, "x has shape " + x.shape().text() + "; its last axis must be the " + std::to_string(in) + " inputs of weight " + weight.shape().text() + ".");
  if (bias) requireShape(op, "bias", *bias, {out});
}

/// The product x Wᵀ with its bias.
GemmArgs forwardProduct(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& out) {
  GemmArgs args;
  args.transB = true;
  args.m = rowsOf(x.shape());
  args.n = weight.size(0);
  args.k = weight.size(1);
  args.a = x.f32();
  args.lda = args.k;
  args.b = weight.f32();
  args.ldb = args.k;
  args.c = out.f32();
  args.ldc = args.n;
  args.epilogue.kind = GemmEpilogueKind::bias;
  args.epilogue.bias = bias ? bias->f32() : nullptr;
  return args;
}

// The kinds have the same names in cpu/gemm.h and cuda/gemm.h.

template <class Kind>
Kind forwardEpilogue(Activation activation) {
  switch (activation) {
    case Activation::none: return Kind::bias;
    case Activation::silu: return Kind::biasSilu;
    case Activation::geluTanh: return Kind::biasGeluTanh;
    case Activation::geluErf: return Kind::biasGeluErf;
    case Activation::quickGelu: return Kind::biasQuickGelu;
  }
  return Kind::bias;
}

template <class Kind>
Kind backwardEpilogue(Activation activation) {
  switch (activation) {
    case Activation::none: return Kind::none;
    case Activation::silu: return Kind::siluBackward;
    case Activation::geluTanh: return Kind::geluTanhBackward;
    case Activation::geluErf: return Kind::geluErfBackward;
    case Activation::quickGelu: return Kind::quickGeluBackward;
  }
  return Kind::none;
}

void requireWeightGradient(const char* op, const Tensor& dOut, const Tensor& x, const Tensor& dWeight) {
  requireRank(op, "dWeight", dWeight, 2, "[out, in]");
  requireCompute(op, "dOut", dOut);
  requireDType(op, "x", x, dOut.dtype());
  const int64_t out = dWeight.size(0), in = dWeight.size(1);
  if (dOut.shape().rank() < 1 || x.shape().rank() < 1 || dOut.size(-1) != out || x.size(-1) != in || rowsOf(dOut.shape()) != rowsOf(x.shape()))
    fail(ErrorCode::shape, op, "dOut " + dOut.shape().text() + " and x " + x.shape().text() + " do not make a gradient of shape " + dWeight.shape().text() + ".");
}

void weightGradientOnCpu(const char* op, const Tensor& dOut, const Tensor& x, const Tensor& dWeight, bool accumulate) {
  GemmArgs args;
  args.transA = true;
  args.m = dWeight.size(0);
  args.n = dWeight.size(1);
  args.k = rowsOf(x.shape());
  args.a = dOut.f32();
  args.lda = args.m;
  args.b = x.f32();
  args.ldb = args.n;
  args.c = dWeight.f32();
  args.ldc = args.n;
  args.accumulate = accumulate;
  enqueueGemm(op, cpuQueue(op, dWeight), args);
}

}  // namespace

std::array<Tensor, 2> linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const std::string& activation, bool keepPre,
                             const std::string& dtype) {
  const char* op = "linear";
  requireForward(op, x, weight, bias);
  const Activation function = activationOf(op, activation);
  const DType outDType = computeDType(op, x.device(), dtype);
  require(outDType == DType::f32 || outDType == x.dtype(), op, "the result of a product of " + std::string(dtypeName(x.dtype())) + " is that or f32, not " + dtype + ".");
  const Shape shape = withLastAxis(x.shape(), weight.size(0));
  const Tensor out = Tensor::empty(x.device(), shape, outDType, op);
  Tensor pre;
  if (keepPre && function != Activation::none) pre = Tensor::empty(x.device(), shape, x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const auto kind = forwardEpilogue<cuda::GemmEpilogueKind>(function);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linear(stream, x, weight, bias, kind, out, pre); });
      return {out, pre};
    }
  GemmArgs args = forwardProduct(x, weight, bias, out);
  args.epilogue.kind = forwardEpilogue<GemmEpilogueKind>(function);
  if (pre.defined()) {
    args.epilogue.aux = pre.f32();
    args.epilogue.auxStride = args.n;
  }
  enqueueGemm(op, cpuQueue(op, x), args);
  return {out, pre};
}

std::array<Tensor, 2> linearGatedResidual(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                                          const Tensor& modulation, int64_t gateChunk, bool keepY) {
  const char* op = "linearGatedResidual";
  requireRank(op, "x", x, 3, "[B, T, in]", x.dtype());
  requireForward(op, x, weight, bias);
  requireShape(op, "residual", residual, {x.size(0), x.size(1), weight.size(0)});
  requireModulation(op, "modulation", modulation, residual);
  const float* const gate = modulationChunk(op, modulation, gateChunk);
  const Tensor out = Tensor::empty(x.device(), residual.shape(), DType::f32, op);
  Tensor y;
  if (keepY) y = Tensor::empty(x.device(), residual.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearGatedResidual(stream, x, weight, bias, residual, modulation, gateChunk, out, y); });
      return {out, y};
    }
  GemmArgs args = forwardProduct(x, weight, bias, out);
  args.epilogue.kind = GemmEpilogueKind::biasGatedResidual;
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = gate;
  args.epilogue.gateStride = modulationStride(modulation);
  args.epilogue.rowsPerGate = x.size(1);
  if (keepY) {
    args.epilogue.aux = y.f32();
    args.epilogue.auxStride = args.n;
  }
  enqueueGemm(op, cpuQueue(op, x), args);
  return {out, y};
}

Tensor linearScaledResidual(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual, const Tensor& scale) {
  const char* op = "linearScaledResidual";
  requireForward(op, x, weight, bias);
  requireShape(op, "residual", residual, withLastAxis(x.shape(), weight.size(0)));
  requireShape(op, "scale", scale, {weight.size(0)});
  const Tensor out = Tensor::empty(x.device(), residual.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearScaledResidual(stream, x, weight, bias, residual, scale, out); });
      return out;
    }
  GemmArgs args = forwardProduct(x, weight, bias, out);
  args.epilogue.kind = GemmEpilogueKind::biasGatedResidual;
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = scale.f32();
  args.epilogue.gateStride = 0;
  enqueueGemm(op, cpuQueue(op, x), args);
  return out;
}

Tensor linearAddend(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& addend) {
  const char* op = "linearAddend";
  requireRank(op, "x", x, 3, "[B, T, in]", x.dtype());
  requireForward(op, x, weight, bias);
  requireShape(op, "addend", addend, {x.size(1), weight.size(0)});
  const Tensor out = Tensor::empty(x.device(), {x.size(0), x.size(1), weight.size(0)}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearAddend(stream, x, weight, bias, addend, out); });
      return out;
    }
  GemmArgs args = forwardProduct(x, weight, bias, out);
  args.epilogue.kind = GemmEpilogueKind::biasAddend;
  args.epilogue.addend = addend.f32();
  args.epilogue.addendStride = args.n;
  args.epilogue.addendRows = x.size(1) > 0 ? x.size(1) : 1;
  enqueueGemm(op, cpuQueue(op, x), args);
  return out;
}

Tensor linearInputGradient(const Tensor& dOut, const Tensor& weight, const std::optional<Tensor>& pre, const std::string& activation,
                           const std::optional<Tensor>& dBias, bool accumulateBias) {
  const char* op = "linearInputGradient";
  requireCompute(op, "dOut", dOut);
  requireRank(op, "weight", weight, 2, "[out, in]", dOut.dtype());
  const int64_t out = weight.size(0), in = weight.size(1);
  if (dOut.shape().rank() < 1 || dOut.size(-1) != out)
    fail(ErrorCode::shape, op, "dOut has shape " + dOut.shape().text() + "; its last axis must be the " + std::to_string(out) + " outputs of weight " + weight.shape().text() + ".");
  const Activation function = activationOf(op, activation);
  require(pre.has_value() == (function != Activation::none), op, "pre and an activation other than none go together.");
  const Shape shape = withLastAxis(dOut.shape(), in);
  if (pre) requireShape(op, "pre", *pre, shape, dOut.dtype());
  if (dBias) requireShape(op, "dBias", *dBias, {in});
  const Tensor dX = Tensor::empty(dOut.device(), shape, dOut.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dOut)) {
      const auto kind = backwardEpilogue<cuda::GemmEpilogueKind>(function);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearInputGradient(stream, dOut, weight, pre, kind, dX, dBias, accumulateBias); });
      return dX;
    }
  GemmArgs args;
  args.m = rowsOf(dOut.shape());
  args.n = in;
  args.k = out;
  args.a = dOut.f32();
  args.lda = out;
  args.b = weight.f32();
  args.ldb = in;
  args.c = dX.f32();
  args.ldc = in;
  args.epilogue.kind = backwardEpilogue<GemmEpilogueKind>(function);
  if (pre) {
    args.epilogue.aux = pre->f32();
    args.epilogue.auxStride = in;
  }
  enqueueGemm(op, cpuQueue(op, dOut), args);
  if (dBias && in > 0) columnSum(dX, *dBias, accumulateBias);
  return dX;
}

void linearWeightGradient(const Tensor& dOut, const Tensor& x, const Tensor& dWeight, bool accumulate) {
  const char* op = "linearWeightGradient";
  requireWeightGradient(op, dOut, x, dWeight);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dWeight))
      return cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::linearWeightGradients(stream, std::span(&dOut, 1), std::span(&x, 1), std::span(&dWeight, 1), accumulate);
      });
  weightGradientOnCpu(op, dOut, x, dWeight, accumulate);
}

void linearWeightGradients(const std::vector<Tensor>& dOut, const std::vector<Tensor>& x, const std::vector<Tensor>& dWeight, bool accumulate) {
  const char* op = "linearWeightGradients";
  require(!dWeight.empty() && dOut.size() == dWeight.size() && x.size() == dWeight.size(), op,
          "got " + std::to_string(dOut.size()) + " dOut, " + std::to_string(x.size()) + " x and " + std::to_string(dWeight.size()) +
              " dWeight; expected as many of each, one at least.");
  for (size_t i = 0; i < dWeight.size(); ++i) {
    requireWeightGradient(op, dOut[i], x[i], dWeight[i]);
    requireDType(op, "every x", x[i], x[0].dtype());
  }
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dWeight[0]))
      return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearWeightGradients(stream, dOut, x, dWeight, accumulate); });
  for (size_t i = 0; i < dWeight.size(); ++i) weightGradientOnCpu(op, dOut[i], x[i], dWeight[i], accumulate);
}

}  // namespace repa::ops
