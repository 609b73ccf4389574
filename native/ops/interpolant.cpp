#include "ops/interpolant.h"

#include "cpu/interpolant.h"
#include "cuda/interpolant.h"
#include "ops/interpolant_path.h"
#include "ops/require.h"

namespace repa::ops {

std::array<Tensor, 2> interpolant(const Tensor& x, const Tensor& noise, const Tensor& t, const std::string& path) {
  const char* op = "interpolant";
  requireDType(op, "x", x, DType::f32);
  require(x.shape().rank() >= 1 && x.size(0) > 0, op, "x has shape " + x.shape().text() + "; expected [B, ...].");
  requireShape(op, "noise", noise, x.shape());
  requireShape(op, "t", t, {x.size(0)});
  const cpu::InterpolantPath onPath = interpolantPathOf(op, path);
  const Tensor interpolated = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  const Tensor velocity = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::interpolant(stream, x, noise, t, onPath == cpu::InterpolantPath::cosine, interpolated, velocity);
      });
      return {interpolated, velocity};
    }
  const cpu::InterpolantArgs args{.x = x.f32(), .noise = noise.f32(), .t = t.f32(), .interpolated = interpolated.f32(),
                                  .velocity = velocity.f32(), .path = onPath, .batch = x.size(0), .size = x.elements() / x.size(0)};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::interpolantKernels().interpolant(pool, args); });
  return {interpolated, velocity};
}

Tensor samplePosterior(const Tensor& moments, const Tensor& noise, double scale, double bias) {
  const char* op = "samplePosterior";
  requireRank(op, "noise", noise, 4, "[B, C, h, w]");
  requireShape(op, "moments", moments, {noise.size(0), 2 * noise.size(1), noise.size(2), noise.size(3)});
  const Tensor latent = Tensor::empty(noise.device(), noise.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(noise)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::samplePosterior(stream, moments, noise, static_cast<float>(scale), static_cast<float>(bias), latent);
      });
      return latent;
    }
  const cpu::SamplePosteriorArgs args{.moments = moments.f32(), .noise = noise.f32(), .latent = latent.f32(),
                                      .scale = static_cast<float>(scale), .bias = static_cast<float>(bias), .batch = noise.size(0),
                                      .size = noise.size(1) * noise.size(2) * noise.size(3)};
  cpuQueue(op, noise).enqueue(op, [args](ThreadPool& pool) { cpu::interpolantKernels().samplePosterior(pool, args); });
  return latent;
}

}  // namespace repa::ops
