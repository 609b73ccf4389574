#include "ops/resize.h"

#include "cpu/resize.h"
#include "cuda/resize.h"
#include "ops/require.h"

namespace repa::ops {
namespace {

// torch keeps the scale of float32 images in float32: at the far end of 256 pixels that moves the sample points by 7e-6, which is
// more than everything else that rounds. Torch 1.13 computes with it in double, on a CPU, and so do the kernels here. Torch 2.13
// rounds the sample point to float32 too, which moves it as far again.
double roundedScale(double given, int64_t inputs, int64_t outputs) {
  return given > 0 ? static_cast<float>(given) : static_cast<float>(inputs) / static_cast<float>(outputs);
}

}  // namespace

Tensor resize(const Tensor& x, int64_t outHeight, int64_t outWidth, const std::string& filter, bool antialias, double scaleHeight, double scaleWidth) {
  const char* op = "resize";
  requireRank(op, "x", x, 4, "[N, h, w, C]");
  require(filter == "bilinear" || filter == "bicubic", op, "\"" + filter + "\" is not a filter: expected bilinear or bicubic.");
  require(x.size(1) >= 1 && x.size(2) >= 1 && outHeight >= 1 && outWidth >= 1, op,
          "cannot turn " + x.shape().text() + " into " + std::to_string(outHeight) + " x " + std::to_string(outWidth) + ".");
  const auto requireScale = [op](const char* name, double scale, int64_t size) {
    require(scale >= 0 && scale <= static_cast<double>(size), op,
            std::string(name) + " is " + std::to_string(scale) + "; expected input pixels per output pixel, at most " + std::to_string(size) + ", or 0 to take the sizes' ratio.");
  };
  requireScale("scaleHeight", scaleHeight, x.size(1));
  requireScale("scaleWidth", scaleWidth, x.size(2));
  const Tensor out = Tensor::empty(x.device(), {x.size(0), outHeight, outWidth, x.size(3)}, DType::f32, op);
  cpu::ResizeArgs args{.input = x.f32(), .output = out.f32(), .count = x.size(0), .inputHeight = x.size(1), .inputWidth = x.size(2),
                       .outputHeight = outHeight, .outputWidth = outWidth, .channels = x.size(3),
                       .filter = filter == "bicubic" ? cpu::ResizeFilter::bicubic : cpu::ResizeFilter::bilinear, .antialias = antialias,
                       .scaleHeight = roundedScale(scaleHeight, x.size(1), outHeight), .scaleWidth = roundedScale(scaleWidth, x.size(2), outWidth), .scratch = nullptr};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      const Tensor scratch = Tensor::empty(*cuda, {cuda::resizeScratchFloats(args)}, DType::f32, op);
      args.scratch = scratch.f32();
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::resize(stream, args); });
      return out;
    }
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor scratch = scratchFloats(queue, cpu::resizeKernels().resizeScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::resizeKernels().resize(pool, args); });
  return out;
}

}  // namespace repa::ops
