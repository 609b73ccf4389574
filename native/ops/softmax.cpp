#include "ops/softmax.h"

#include "cpu/softmax.h"
#include "cuda/softmax.h"
#include "ops/require.h"

namespace repa::ops {

Tensor softmax(const Tensor& x, double scale, const std::string& dtype) {
  const char* op = "softmax";
  requireLastAxis(op, "x", x, "[..., C]");
  const Tensor out = Tensor::empty(x.device(), x.shape(), computeDType(op, x.device(), dtype), op);
  if (out.elements() == 0) return out;
  const cpu::SoftmaxArgs args{.x = x.f32(), .rows = rowsOf(x.shape()), .columns = x.size(-1), .scale = static_cast<float>(scale), .out = out.f32()};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::softmax(stream, args, out); });
      return out;
    }
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::softmaxKernels().softmax(pool, args); });
  return out;
}

}  // namespace repa::ops
