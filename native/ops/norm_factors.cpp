#include "ops/norm_factors.h"

#include "cpu/norm_factors.h"
#include "cuda/norm_factors.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

void requireNorms(const char* op, const Tensor& modulation, const Tensor& weights) {
  requireRank(op, "modulation", modulation, 3, "[B, 3 N - 1, D] or [B, 3 N, D]");
  requireRank(op, "weights", weights, 2, "[N, D]");
  const int64_t chunks = modulation.size(1), most = 3 * weights.size(0);
  if ((chunks != most && chunks != most - 1) || modulation.size(2) != weights.size(1))
    fail(ErrorCode::shape, op, "modulation has shape " + modulation.shape().text() + ", which does not fit weights " + weights.shape().text() +
                                   ": expected [B, 3 N - 1, D], or with a gate behind the last norm [B, 3 N, D].");
}

}  // namespace

Tensor normFactors(const Tensor& modulation, const Tensor& weights) {
  const char* op = "normFactors";
  requireNorms(op, modulation, weights);
  const Tensor out = Tensor::empty(modulation.device(), modulation.shape(), DType::f32, op);
  if (out.elements() == 0) return out;
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(modulation)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::normFactors(stream, modulation, weights, out); });
      return out;
    }
  const cpu::NormFactorsArgs args{.batch = modulation.size(0), .chunks = modulation.size(1), .width = modulation.size(2),
                                  .modulation = modulation.f32(), .weights = weights.f32(), .out = out.f32()};
  cpuQueue(op, modulation).enqueue(op, [args](ThreadPool& pool) { cpu::normFactorsKernels().forward(pool, args); });
  return out;
}

void normFactorsBackward(const Tensor& dModulation, const Tensor& modulation, const Tensor& weights, const Tensor& dWeights, bool accumulate) {
  const char* op = "normFactorsBackward";
  requireNorms(op, modulation, weights);
  requireShape(op, "dModulation", dModulation, modulation.shape());
  requireShape(op, "dWeights", dWeights, weights.shape());
  if (weights.elements() == 0) return;
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(modulation)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::normFactorsBackwardScratchFloats(modulation.size(0), weights.size(0), weights.size(1)), op);
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::normFactorsBackward(stream, dModulation, modulation, weights, dWeights, accumulate, scratch.f32());
      });
      return;
    }
  CpuDevice& queue = cpuQueue(op, modulation);
  cpu::NormFactorsBackwardArgs args{.batch = modulation.size(0), .norms = weights.size(0), .chunks = modulation.size(1), .width = weights.size(1),
                                    .dModulation = dModulation.f32(), .modulation = modulation.f32(), .weights = weights.f32(),
                                    .dWeights = dWeights.f32(), .accumulate = accumulate, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::normFactorsKernels().backwardScratchFloats(args), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::normFactorsKernels().backward(pool, args); });
}

}  // namespace repa::ops
