#include "ops/linear.h"

#include "cpu/gemm.h"
#include "ops/activation.h"
#include "ops/modulation.h"
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

Shape withLastAxis(const Shape& shape, int64_t size) {
  Shape out;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) out.append(shape[axis]);
  out.append(size);
  return out;
}

/// The product x Wᵀ with its bias; checks x, weight and bias.
GemmArgs forwardProduct(const char* op, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  requireDType(op, "x", x, DType::f32);
  requireRank(op, "weight", weight, 2, "[out, in]");
  const int64_t out = weight.size(0), in = weight.size(1);
  if (x.shape().rank() < 1 || x.size(-1) != in)
    fail(ErrorCode::shape, op, "x has shape " + x.shape().text() + "; its last axis must be the " + std::to_string(in) + " inputs of weight " + weight.shape().text() + ".");
  if (bias) requireShape(op, "bias", *bias, {out});
  GemmArgs args;
  args.transB = true;
  args.m = rowsOf(x.shape());
  args.n = out;
  args.k = in;
  args.a = x.f32();
  args.lda = in;
  args.b = weight.f32();
  args.ldb = in;
  args.ldc = out;
  args.epilogue.kind = GemmEpilogueKind::bias;
  args.epilogue.bias = bias ? bias->f32() : nullptr;
  return args;
}

GemmEpilogueKind forwardEpilogue(Activation activation) {
  switch (activation) {
    case Activation::none: return GemmEpilogueKind::bias;
    case Activation::silu: return GemmEpilogueKind::biasSilu;
    case Activation::geluTanh: return GemmEpilogueKind::biasGeluTanh;
    case Activation::geluErf: return GemmEpilogueKind::biasGeluErf;
  }
  return GemmEpilogueKind::bias;
}

GemmEpilogueKind backwardEpilogue(Activation activation) {
  switch (activation) {
    case Activation::none: return GemmEpilogueKind::none;
    case Activation::silu: return GemmEpilogueKind::siluBackward;
    case Activation::geluTanh: return GemmEpilogueKind::geluTanhBackward;
    case Activation::geluErf: return GemmEpilogueKind::geluErfBackward;
  }
  return GemmEpilogueKind::none;
}

}  // namespace

std::array<Tensor, 2> linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const std::string& activation, bool keepPre,
                             const std::string& dtype) {
  const char* op = "linear";
  const DType outDType = computeDType(op, x.device(), dtype);
  GemmArgs args = forwardProduct(op, x, weight, bias);
  const Activation function = activationOf(op, activation);
  CpuDevice& queue = cpuQueue(op, x);
  const Shape shape = withLastAxis(x.shape(), args.n);
  const Tensor out = Tensor::empty(queue, shape, outDType, op);
  Tensor pre;
  args.c = out.f32();
  args.epilogue.kind = forwardEpilogue(function);
  if (keepPre && function != Activation::none) {
    pre = Tensor::empty(queue, shape, DType::f32, op);
    args.epilogue.aux = pre.f32();
    args.epilogue.auxStride = args.n;
  }
  enqueueGemm(op, queue, args);
  return {out, pre};
}

std::array<Tensor, 2> linearGatedResidual(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                                          const Tensor& modulation, int64_t gateChunk, bool keepY) {
  const char* op = "linearGatedResidual";
  requireRank(op, "x", x, 3, "[B, T, in]");
  GemmArgs args = forwardProduct(op, x, weight, bias);
  requireShape(op, "residual", residual, {x.size(0), x.size(1), args.n});
  requireModulation(op, "modulation", modulation, residual);
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, residual.shape(), DType::f32, op);
  Tensor y;
  args.c = out.f32();
  args.epilogue.kind = GemmEpilogueKind::biasGatedResidual;
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = modulationChunk(op, modulation, gateChunk);
  args.epilogue.gateStride = modulationStride(modulation);
  args.epilogue.rowsPerGate = x.size(1);
  if (keepY) {
    y = Tensor::empty(queue, residual.shape(), DType::f32, op);
    args.epilogue.aux = y.f32();
    args.epilogue.auxStride = args.n;
  }
  enqueueGemm(op, queue, args);
  return {out, y};
}

Tensor linearLayerScale(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual, const Tensor& gamma) {
  const char* op = "linearLayerScale";
  GemmArgs args = forwardProduct(op, x, weight, bias);
  requireShape(op, "residual", residual, withLastAxis(x.shape(), args.n));
  requireShape(op, "gamma", gamma, {args.n});
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, residual.shape(), DType::f32, op);
  args.c = out.f32();
  args.epilogue.kind = GemmEpilogueKind::biasGatedResidual;
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = gamma.f32();
  args.epilogue.gateStride = args.n;
  args.epilogue.rowsPerGate = args.m > 0 ? args.m : 1;
  enqueueGemm(op, queue, args);
  return out;
}

Tensor linearAddend(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& addend) {
  const char* op = "linearAddend";
  requireRank(op, "x", x, 3, "[B, T, in]");
  GemmArgs args = forwardProduct(op, x, weight, bias);
  requireShape(op, "addend", addend, {x.size(1), args.n});
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, {x.size(0), x.size(1), args.n}, DType::f32, op);
  args.c = out.f32();
  args.epilogue.kind = GemmEpilogueKind::biasAddend;
  args.epilogue.addend = addend.f32();
  args.epilogue.addendStride = args.n;
  args.epilogue.addendRows = x.size(1) > 0 ? x.size(1) : 1;
  enqueueGemm(op, queue, args);
  return out;
}

Tensor linearInputGradient(const Tensor& dOut, const Tensor& weight, const std::optional<Tensor>& pre, const std::string& activation) {
  const char* op = "linearInputGradient";
  requireDType(op, "dOut", dOut, DType::f32);
  requireRank(op, "weight", weight, 2, "[out, in]");
  const int64_t out = weight.size(0), in = weight.size(1);
  if (dOut.shape().rank() < 1 || dOut.size(-1) != out)
    fail(ErrorCode::shape, op, "dOut has shape " + dOut.shape().text() + "; its last axis must be the " + std::to_string(out) + " outputs of weight " + weight.shape().text() + ".");
  const Activation function = activationOf(op, activation);
  require(pre.has_value() == (function != Activation::none), op, "pre and an activation other than none go together.");
  CpuDevice& queue = cpuQueue(op, dOut);
  const Tensor dX = Tensor::empty(queue, withLastAxis(dOut.shape(), in), DType::f32, op);
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
  args.epilogue.kind = backwardEpilogue(function);
  if (pre) {
    requireShape(op, "pre", *pre, dX.shape());
    args.epilogue.aux = pre->f32();
    args.epilogue.auxStride = in;
  }
  enqueueGemm(op, queue, args);
  return dX;
}

void linearWeightGradient(const Tensor& dOut, const Tensor& x, const Tensor& dWeight, bool accumulate) {
  const char* op = "linearWeightGradient";
  requireRank(op, "dWeight", dWeight, 2, "[out, in]");
  requireDType(op, "dOut", dOut, DType::f32);
  requireDType(op, "x", x, DType::f32);
  const int64_t out = dWeight.size(0), in = dWeight.size(1);
  if (dOut.shape().rank() < 1 || x.shape().rank() < 1 || dOut.size(-1) != out || x.size(-1) != in || rowsOf(dOut.shape()) != rowsOf(x.shape()))
    fail(ErrorCode::shape, op, "dOut " + dOut.shape().text() + " and x " + x.shape().text() + " do not make a gradient of shape " + dWeight.shape().text() + ".");
  GemmArgs args;
  args.transA = true;
  args.m = out;
  args.n = in;
  args.k = rowsOf(x.shape());
  args.a = dOut.f32();
  args.lda = out;
  args.b = x.f32();
  args.ldb = in;
  args.c = dWeight.f32();
  args.ldc = in;
  args.accumulate = accumulate;
  enqueueGemm(op, cpuQueue(op, dWeight), args);
}

}  // namespace repa::ops
