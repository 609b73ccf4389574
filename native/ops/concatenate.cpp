#include "ops/concatenate.h"

#include "cpu/concatenate.h"
#include "cuda/concatenate.h"
#include "ops/require.h"

namespace repa::ops {
namespace {

/// `shape` with another last axis.
Shape withLast(const Shape& shape, int64_t size) {
  Shape out;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) out.append(shape[axis]);
  out.append(size);
  return out;
}

}  // namespace

Tensor concatenate(const std::vector<Tensor>& parts) {
  const char* op = "concatenate";
  require(!parts.empty(), op, "there are no parts; expected at least one.");
  int64_t width = 0;
  for (const Tensor& part : parts) {
    requireLastAxis(op, "a part", part, "[..., C]");
    requireShape(op, "a part", part, withLast(parts[0].shape(), part.shape()[-1]));
    width += part.shape()[-1];
  }
  const Shape shape = withLast(parts[0].shape(), width);
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
