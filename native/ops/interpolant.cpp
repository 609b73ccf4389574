#include "ops/interpolant.h"

#include "cpu/interpolant.h"
#include "ops/interpolant_path.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 2> interpolant(const Tensor& x, const Tensor& noise, const Tensor& t, const std::string& path) {
  const char* op = "interpolant";
  requireDType(op, "x", x, DType::f32);
  require(x.shape().rank() >= 1 && x.size(0) > 0, op, "x has shape " + x.shape().text() + "; expected [B, ...].");
  requireShape(op, "noise", noise, x.shape());
  requireShape(op, "t", t, {x.size(0)});
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor interpolated = Tensor::empty(queue, x.shape(), DType::f32, op);
  const Tensor velocity = Tensor::empty(queue, x.shape(), DType::f32, op);
  const cpu::InterpolantArgs args{.x = x.f32(), .noise = noise.f32(), .t = t.f32(), .interpolated = interpolated.f32(), .velocity = velocity.f32(),
                                  .path = interpolantPathOf(op, path), .batch = x.size(0), .size = x.elements() / x.size(0)};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::interpolantKernels().interpolant(pool, args); });
  return {interpolated, velocity};
}

Tensor samplePosterior(const Tensor& moments, const Tensor& noise, double scale, double bias) {
  const char* op = "samplePosterior";
  requireRank(op, "noise", noise, 4, "[B, C, h, w]");
  requireShape(op, "moments", moments, {noise.size(0), 2 * noise.size(1), noise.size(2), noise.size(3)});
  CpuDevice& queue = cpuQueue(op, noise);
  const Tensor latent = Tensor::empty(queue, noise.shape(), DType::f32, op);
  const cpu::SamplePosteriorArgs args{.moments = moments.f32(), .noise = noise.f32(), .latent = latent.f32(), .scale = static_cast<float>(scale),
                                      .bias = static_cast<float>(bias), .batch = noise.size(0), .size = noise.size(1) * noise.size(2) * noise.size(3)};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::interpolantKernels().samplePosterior(pool, args); });
  return latent;
}

}  // namespace repa::ops
