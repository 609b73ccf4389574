// The operations of ops/linear.h as products of gemm.h.
#include "cuda/linear.h"

#include "cuda/cuda_device.h"
#include "cuda/gemm_choice.h"

namespace repa::cuda {

namespace {

using Kind = GemmEpilogueKind;

/// Whether a product of operands of this dtype may round them to tf32.
bool allowsTf32(Device& device, DType operands) { return operands == DType::f32 && static_cast<CudaDevice&>(device).allowsTf32(); }

void run(cudaStream_t stream, Device& device, std::span<const GemmArgs> products) {
  const CudaDeviceInfo& info = static_cast<CudaDevice&>(device).info();
  const GemmWish wish = gemmWish();
  const GemmPlan plan = wish.maker == GemmMaker::fastest ? fastestGemm(stream, device, info, products) : planGemm(info, products, wish);
  Tensor scratch;  // memory is stream-ordered: it may be given back right after the launches
  if (plan.scratchBytes > 0) scratch = Tensor::empty(device, {plan.scratchBytes}, DType::u8, "the scratch of a product");
  gemm(stream, plan, products, scratch.defined() ? scratch.data() : nullptr);
}

void run(cudaStream_t stream, Device& device, const GemmArgs& product) { run(stream, device, std::span(&product, 1)); }

GemmArgs forwardProduct(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Kind kind, const Tensor& out) {
  GemmArgs args;
  args.layout = GemmLayout::forward;
  args.dtype = x.dtype();
  args.allowTf32 = allowsTf32(out.device(), args.dtype);
  args.m = rowsOf(x.shape());
  args.n = weight.size(0);
  args.k = weight.size(1);
  args.a = x.data();
  args.lda = args.k;
  args.b = weight.data();
  args.ldb = args.k;
  args.c = out.data();
  args.ldc = args.n;
  args.cDType = out.dtype();
  args.epilogue.kind = kind;
  args.epilogue.bias = bias ? bias->f32() : nullptr;
  return args;
}

void keep(GemmArgs& args, const Tensor& result) {
  if (!result.defined()) return;
  args.epilogue.aux = result.data();
  args.epilogue.auxStride = args.n;
}

}  // namespace

void linear(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, GemmEpilogueKind kind, const Tensor& out,
            const Tensor& pre) {
  GemmArgs args = forwardProduct(x, weight, bias, kind, out);
  keep(args, pre);
  run(stream, out.device(), args);
}

void linearGatedResidual(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                         const Tensor& modulation, int64_t gateChunk, const Tensor& out, const Tensor& y) {
  GemmArgs args = forwardProduct(x, weight, bias, Kind::biasGatedResidual, out);
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = modulation.f32() + gateChunk * modulation.size(2);
  args.epilogue.gateStride = modulation.size(1) * modulation.size(2);
  args.epilogue.rowsPerGate = x.size(1);
  keep(args, y);
  run(stream, out.device(), args);
}

void linearScaledResidual(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& residual,
                          const Tensor& scale, const Tensor& out) {
  GemmArgs args = forwardProduct(x, weight, bias, Kind::biasGatedResidual, out);
  args.epilogue.residual = residual.f32();
  args.epilogue.residualStride = args.n;
  args.epilogue.gate = scale.f32();
  args.epilogue.gateStride = 0;
  run(stream, out.device(), args);
}

void linearAddend(cudaStream_t stream, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& addend, const Tensor& out) {
  GemmArgs args = forwardProduct(x, weight, bias, Kind::biasAddend, out);
  args.epilogue.addend = addend.f32();
  args.epilogue.addendStride = args.n;
  args.epilogue.addendRows = x.size(1);
  run(stream, out.device(), args);
}

void linearInputGradient(cudaStream_t stream, const Tensor& dOut, const Tensor& weight, const std::optional<Tensor>& pre, GemmEpilogueKind kind,
                         const Tensor& dX, const std::optional<Tensor>& dBias, bool accumulateBias) {
  GemmArgs args;
  args.layout = GemmLayout::inputGradient;
  args.dtype = dOut.dtype();
  args.allowTf32 = allowsTf32(dX.device(), args.dtype);
  args.m = rowsOf(dOut.shape());
  args.n = weight.size(1);
  args.k = weight.size(0);
  args.a = dOut.data();
  args.lda = args.k;
  args.b = weight.data();
  args.ldb = args.n;
  args.c = dX.data();
  args.ldc = args.n;
  args.cDType = dX.dtype();
  args.epilogue.kind = kind;
  if (pre) keep(args, *pre);
  if (dBias) args.epilogue.columnSums = dBias->f32();
  args.epilogue.accumulateColumnSums = accumulateBias;
  run(stream, dX.device(), args);
}

void linearWeightGradients(cudaStream_t stream, std::span<const Tensor> dOut, std::span<const Tensor> x, std::span<const Tensor> dWeight, bool accumulate) {
  std::vector<GemmArgs> products;
  for (size_t i = 0; i < dWeight.size(); ++i) {
    GemmArgs& args = products.emplace_back();
    args.layout = GemmLayout::weightGradient;
    args.dtype = x[i].dtype();
    args.allowTf32 = allowsTf32(dWeight[i].device(), args.dtype);
    args.m = dWeight[i].size(0);
    args.n = dWeight[i].size(1);
    args.k = rowsOf(x[i].shape());
    args.a = dOut[i].data();
    args.lda = args.m;
    args.b = x[i].data();
    args.ldb = args.n;
    args.c = dWeight[i].f32();
    args.ldc = args.n;
    args.accumulate = accumulate;
  }
  run(stream, dWeight[0].device(), products);
}

}  // namespace repa::cuda
