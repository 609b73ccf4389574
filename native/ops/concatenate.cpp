#include "ops/concatenate.h"

#include "cpu/concatenate.h"
#include "cuda/concatenate.h"
#include "ops/last_axis.h"
#include "ops/require.h"

namespace repa::ops {

Tensor concatenate(const std::vector<Tensor>& parts) {
  const char* op = "concatenate";
  require(!parts.empty(), op, "there are no parts; expected at least one.");
  int64_t width = 0;
  for (const Tensor& part : parts) {
    requireLastAxis(op, "a part", part, "[..., C]");
    requireShape(op, "a part", part, withLastAxis(parts[0].shape(), part.shape()[-1]));
    width += part.shape()[-1];
  }
  const Shape shape = withLastAxis(parts[0].shape(), width);
  const Tensor out = Tensor::empty(parts[0].device(), shape, DType::f32, op);
  int64_t column = 0;
  for (const Tensor& part : parts) {
    const cpu::ConcatenateArgs args{.part = part.f32(), .out = out.f32() + column, .rows = rowsOf(shape), .width = part.shape()[-1],
                                    .outWidth = width};
    column += args.width;
    if (part.elements() == 0) continue;
    if constexpr (kBuiltWithCuda)
      if (CudaDevice* cuda = cudaQueue(part)) {
        requireIndexable(op, "a part", part.elements());
        cuda->enqueue(op, [&](cudaStream_t stream) { cuda::concatenate(stream, args); });
        continue;
      }
    cpuQueue(op, part).enqueue(op, [args](ThreadPool& pool) { cpu::concatenateKernels().concatenate(pool, args); });
  }
  return out;
}

}  // namespace repa::ops
