#include "ops/rope.h"

#include "cpu/rope.h"
#include "cuda/rope.h"
#include "ops/packed_qkv.h"
#include "ops/require.h"

namespace repa::ops {

void rotate(const Tensor& qkv, const Tensor& cos, const Tensor& sin, int64_t heads, bool transposed) {
  const char* op = "rotate";
  const int64_t d = headDim(op, "qkv", qkv, heads), batch = qkv.size(0), tokens = qkv.size(1);
  require(d % 2 == 0, op, "head_dim is " + std::to_string(d) + "; pairs of columns are turned, so it must be even.");
  requireShape(op, "cos", cos, {tokens, d});
  requireShape(op, "sin", sin, {tokens, d});
  if (qkv.elements() == 0) return;
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::rotate(stream, qkv, cos, sin, heads, transposed); });
      return;
    }
  const cpu::RotateArgs args{.batch = batch, .tokens = tokens, .heads = heads, .headDim = d, .qkv = qkv.f32(), .cos = cos.f32(), .sin = sin.f32(),
                             .transposed = transposed};
  cpuQueue(op, qkv).enqueue(op, [args](ThreadPool& pool) { cpu::ropeKernels().rotate(pool, args); });
}

}  // namespace repa::ops
