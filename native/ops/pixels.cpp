#include "ops/pixels.h"

#include "cpu/hog.h"
#include "cpu/pixels.h"
#include "cuda/hog.h"
#include "cuda/pixels.h"
#include "ops/require.h"

namespace repa::ops {

Tensor normalizeImages(const Tensor& images, double divisor, const std::vector<double>& mean, const std::vector<double>& std) {
  const char* op = "normalizeImages";
  requireRank(op, "images", images, 4, "[B, 3, H, W]", DType::u8);
  require(images.size(1) == 3, op, "images has shape " + images.shape().text() + "; expected three channels.");
  require(mean.size() == 3 && std.size() == 3, op, "mean and std must have three numbers each.");
  const Tensor out = Tensor::empty(images.device(), images.shape(), DType::f32, op);
  cpu::NormalizeImagesArgs args{.images = images.u8(), .out = out.f32(), .batch = images.size(0), .pixels = images.size(2) * images.size(3),
                                .divisor = static_cast<float>(divisor), .mean = {}, .std = {}};
  for (size_t channel = 0; channel < 3; ++channel) {
    args.mean[channel] = static_cast<float>(mean[channel]);
    args.std[channel] = static_cast<float>(std[channel]);
  }
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(images)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::normalizeImages(stream, args); });
      return out;
    }
  cpuQueue(op, images).enqueue(op, [args](ThreadPool& pool) { cpu::pixelsKernels().normalizeImages(pool, args); });
  return out;
}

Tensor toUint8(const Tensor& images, double shift, double scale, double offset) {
  const char* op = "toUint8";
  const bool isDouble = images.dtype() == DType::f64;
  requireRank(op, "images", images, 4, "[B, C, H, W]", isDouble ? DType::f64 : DType::f32);
  const Tensor out = Tensor::empty(images.device(), {images.size(0), images.size(2), images.size(3), images.size(1)}, DType::u8, op);
  const cpu::ToUint8Args args{.images = images.data(), .isDouble = isDouble, .out = out.u8(), .batch = images.size(0), .channels = images.size(1),
                              .pixels = images.size(2) * images.size(3), .shift = shift, .scale = scale, .offset = offset};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(images)) {
      requireIndexable(op, "an image", args.channels * args.pixels);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::toUint8(stream, args); });
      return out;
    }
  cpuQueue(op, images).enqueue(op, [args](ThreadPool& pool) { cpu::pixelsKernels().toUint8(pool, args); });
  return out;
}

Tensor hog(const Tensor& images, int64_t gridHeight, int64_t gridWidth) {
  const char* op = "hog";
  requireRank(op, "images", images, 4, "[B, 3, H, W]", DType::u8);
  require(images.size(1) == 3, op, "images has shape " + images.shape().text() + "; expected three channels.");
  require(gridHeight >= 1 && gridWidth >= 1 && gridHeight <= images.size(2) && gridWidth <= images.size(3), op,
          "a grid of " + std::to_string(gridHeight) + " x " + std::to_string(gridWidth) + " tokens does not fit images of shape " + images.shape().text() + ".");
  const Tensor out = Tensor::empty(images.device(), {images.size(0), gridHeight * gridWidth, cpu::kHogWidth}, DType::f32, op);
  cpu::HogArgs args{.images = images.u8(), .descriptors = out.f32(), .batch = images.size(0), .height = images.size(2), .width = images.size(3),
                    .gridHeight = gridHeight, .gridWidth = gridWidth, .scratch = nullptr};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(images)) {
      const Tensor scratch = Tensor::empty(*cuda, {cuda::hogScratchFloats(args)}, DType::f32, op);
      args.scratch = scratch.f32();
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::hog(stream, args); });
      return out;
    }
  CpuDevice& queue = cpuQueue(op, images);
  const Tensor scratch = scratchFloats(queue, cpu::hogKernels().hogScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::hogKernels().hog(pool, args); });
  return out;
}

}  // namespace repa::ops
