#include "ops/reduction.h"

#include "cpu/reduction.h"
#include "cuda/reduction.h"
#include "ops/require.h"

namespace repa::ops {

void columnSum(const Tensor& x, const Tensor& out, bool accumulate) {
  const char* op = "columnSum";
  requireCompute(op, "x", x);
  require(x.shape().rank() >= 1 && x.size(-1) > 0, op, "x has shape " + x.shape().text() + "; expected [..., C].");
  requireShape(op, "out", out, {x.size(-1)});
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::columnSumScratchFloats(x), op);
      return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::columnSum(stream, x, out, accumulate, scratch); });
    }
  CpuDevice& queue = cpuQueue(op, x);
  cpu::ColumnSumArgs args{.rows = x.elements() / x.size(-1), .columns = x.size(-1), .rowStride = x.size(-1), .x = x.f32(), .out = out.f32(),
                          .accumulate = accumulate, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::reductionKernels().columnSumScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::reductionKernels().columnSum(pool, args); });
}

Tensor sum(const Tensor& x, double factor) {
  const char* op = "sum";
  requireDType(op, "x", x, DType::f32);
  const Tensor out = Tensor::empty(x.device(), {}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::sumScratchFloats(x), op);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::sum(stream, x, factor, out, scratch); });
      return out;
    }
  CpuDevice& queue = cpuQueue(op, x);
  cpu::SumArgs args{.count = x.elements(), .x = x.f32(), .factor = factor, .out = out.f32(), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::reductionKernels().sumScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::reductionKernels().sum(pool, args); });
  return out;
}

}  // namespace repa::ops
