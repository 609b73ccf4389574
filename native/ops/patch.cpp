#include "ops/patch.h"

#include "cpu/patch.h"
#include "cuda/patch.h"
#include "ops/patch_grid.h"

namespace repa::ops {

namespace {

using ToPatches = void (*)(ThreadPool&, const cpu::ImageToPatchesArgs&);
using ToImage = void (*)(ThreadPool&, const cpu::PatchesToImageArgs&);

Tensor imageToPatches(const char* op, const char* name, const Tensor& image, int64_t patch, const std::string& dtype, cuda::PatchOrder order, ToPatches kernel) {
  const DType outDType = computeDType(op, image.device(), dtype);
  requireRank(op, name, image, 4, "[B, C, H, W]");
  const int64_t batch = image.size(0), channels = image.size(1), height = image.size(2), width = image.size(3);
  requirePatches(op, height, width, patch);
  const int64_t elements = patchElements(op, channels, patch);
  const Tensor out = Tensor::empty(image.device(), {batch, (height / patch) * (width / patch), elements}, outDType, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(image)) {
      requireIndexable(op, "a row of patches", channels * patch * width);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::imageToPatches(stream, image, patch, order, out); });
      return out;
    }
  const cpu::ImageToPatchesArgs args{.batch = batch, .channels = channels, .height = height, .width = width, .patch = patch, .image = image.f32(), .patches = out.f32()};
  cpuQueue(op, image).enqueue(op, [args, kernel](ThreadPool& pool) { kernel(pool, args); });
  return out;
}

Tensor patchesToImage(const char* op, const char* name, const Tensor& patches, int64_t channels, int64_t height, int64_t width, int64_t patch, cuda::PatchOrder order,
                      ToImage kernel) {
  require(channels >= 0 && height >= 0 && width >= 0, op,
          "the image is of " + std::to_string(channels) + " channels and " + std::to_string(height) + " x " + std::to_string(width) + "; expected not negative.");
  requirePatches(op, height, width, patch);
  Shape{channels, height, width}.requireCountable(op);
  requireCompute(op, name, patches);
  requireRank(op, name, patches, 3, "[B, T, C p p]", patches.dtype());
  requireShape(op, name, patches, {patches.size(0), (height / patch) * (width / patch), patchElements(op, channels, patch)}, patches.dtype());
  const Tensor out = Tensor::empty(patches.device(), {patches.size(0), channels, height, width}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(patches)) {
      requireIndexable(op, "a row of patches", channels * patch * width);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::patchesToImage(stream, patches, patch, order, out); });
      return out;
    }
  const cpu::PatchesToImageArgs args{.batch = patches.size(0), .channels = channels, .height = height, .width = width, .patch = patch, .patches = patches.f32(), .image = out.f32()};
  cpuQueue(op, patches).enqueue(op, [args, kernel](ThreadPool& pool) { kernel(pool, args); });
  return out;
}

}  // namespace

Tensor patchify(const Tensor& image, int64_t patch, const std::string& dtype) {
  return imageToPatches("patchify", "image", image, patch, dtype, cuda::PatchOrder::channelFirst, cpu::patchKernels().patchify);
}

Tensor patchifyBackward(const Tensor& dPatches, int64_t channels, int64_t height, int64_t width, int64_t patch) {
  return patchesToImage("patchifyBackward", "dPatches", dPatches, channels, height, width, patch, cuda::PatchOrder::channelFirst, cpu::patchKernels().patchifyBackward);
}

Tensor unpatchify(const Tensor& tokens, int64_t channels, int64_t height, int64_t width, int64_t patch) {
  return patchesToImage("unpatchify", "tokens", tokens, channels, height, width, patch, cuda::PatchOrder::channelLast, cpu::patchKernels().unpatchify);
}

Tensor unpatchifyBackward(const Tensor& dImage, int64_t patch, const std::string& dtype) {
  return imageToPatches("unpatchifyBackward", "dImage", dImage, patch, dtype, cuda::PatchOrder::channelLast, cpu::patchKernels().unpatchifyBackward);
}

}  // namespace repa::ops
