#include "ops/pooling.h"

#include "cpu/pooling.h"
#include "cuda/pooling.h"
#include "ops/require.h"
#include "ops/window.h"

namespace repa::ops {
namespace {

cpu::PoolKind kindNamed(const char* op, const std::string& name) {
  if (name == "max") return cpu::PoolKind::max;
  if (name == "average") return cpu::PoolKind::average;
  if (name == "average-including-zeros") return cpu::PoolKind::averageIncludingZeros;
  fail(ErrorCode::invalidArgument, op, "\"" + name + "\" is no kind of pooling: expected max, average or average-including-zeros.");
}

}  // namespace

Tensor pool2d(const Tensor& x, const std::string& kind, const std::vector<double>& kernel, const std::vector<double>& stride, const std::vector<double>& padding) {
  const char* op = "pool2d";
  requireRank(op, "x", x, 4, "[N, H, W, C]");
  const Window w = windowOf(op, x.size(1), x.size(2), kernel, stride, padding);
  require(w.padTop < w.kernelHeight && w.padBottom < w.kernelHeight && w.padLeft < w.kernelWidth && w.padRight < w.kernelWidth, op,
          "the padding is as large as the kernel: a window could hold no pixel.");
  const Tensor out = Tensor::empty(x.device(), {x.size(0), w.outHeight, w.outWidth, x.size(3)}, DType::f32, op);
  if (out.elements() == 0) return out;
  const cpu::PoolArgs args{.x = x.f32(), .batch = x.size(0), .height = x.size(1), .width = x.size(2), .channels = x.size(3), .kind = kindNamed(op, kind),
                           .kernelHeight = w.kernelHeight, .kernelWidth = w.kernelWidth, .strideHeight = w.strideHeight, .strideWidth = w.strideWidth,
                           .padTop = w.padTop, .padLeft = w.padLeft, .paddedHeight = x.size(1) + w.padTop + w.padBottom,
                           .paddedWidth = x.size(2) + w.padLeft + w.padRight, .outHeight = w.outHeight, .outWidth = w.outWidth, .out = out.f32()};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      requireIndexable(op, "the result", out.elements());
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::pool2d(stream, args); });
      return out;
    }
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::poolKernels().pool2d(pool, args); });
  return out;
}

}  // namespace repa::ops
