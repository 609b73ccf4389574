#include "ops/latents.h"

#include "cpu/latents.h"
#include "cuda/latents.h"
#include "ops/require.h"

namespace repa::ops {

Tensor posteriorMoments(const Tensor& parameters) {
  const char* op = "posteriorMoments";
  requireRank(op, "parameters", parameters, 4, "[B, 2C, h, w]");
  require(parameters.size(1) % 2 == 0, op, "parameters has shape " + parameters.shape().text() + "; expected [B, 2C, h, w].");
  const Tensor moments = Tensor::empty(parameters.device(), parameters.shape(), DType::f32, op);
  if (parameters.elements() == 0) return moments;
  const int64_t batch = parameters.size(0);
  const cpu::PosteriorMomentsArgs args{.parameters = parameters.f32(), .moments = moments.f32(), .batch = batch,
                                       .size = parameters.elements() / batch / 2};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(parameters)) {
      requireIndexable(op, "parameters", parameters.elements());
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::posteriorMoments(stream, args); });
      return moments;
    }
  cpuQueue(op, parameters).enqueue(op, [args](ThreadPool& pool) { cpu::latentsKernels().posteriorMoments(pool, args); });
  return moments;
}

Tensor standardize(const Tensor& x, const Tensor& mean, const Tensor& std) {
  const char* op = "standardize";
  requireDType(op, "x", x, DType::f32);
  requireDType(op, "mean", mean, DType::f32);
  const Shape& of = mean.shape();
  bool isLeading = of.rank() >= 1 && of.rank() < x.shape().rank();
  for (int axis = 0; isLeading && axis < of.rank(); ++axis) isLeading = of[axis] == x.size(axis + 1);
  require(isLeading, op, "mean has shape " + of.text() + "; expected the leading axes of a sample of x, which has shape " + x.shape().text() + ".");
  requireShape(op, "std", std, of);
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if (x.elements() == 0) return out;
  const int64_t batch = x.size(0), groups = mean.elements();
  const cpu::StandardizeArgs args{.x = x.f32(), .mean = mean.f32(), .std = std.f32(), .out = out.f32(), .batch = batch, .groups = groups,
                                  .size = x.elements() / batch / groups};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      requireIndexable(op, "x", x.elements());
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::standardize(stream, args); });
      return out;
    }
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::latentsKernels().standardize(pool, args); });
  return out;
}

}  // namespace repa::ops
