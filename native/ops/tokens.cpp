#include "ops/tokens.h"

#include "cpu/tokens.h"
#include "cuda/tokens.h"
#include "ops/require.h"

namespace repa::ops {

Tensor prependTokens(const Tensor& patches, const std::optional<Tensor>& patchPositions, const std::optional<Tensor>& classToken,
                     const std::optional<Tensor>& classPosition, const std::optional<Tensor>& registers) {
  const char* op = "prependTokens";
  requireRank(op, "patches", patches, 3, "[B, T, D]");
  const int64_t batch = patches.size(0), tokens = patches.size(1), width = patches.size(2);
  if (patchPositions) requireShape(op, "patchPositions", *patchPositions, {tokens, width});
  if (classToken) requireShape(op, "classToken", *classToken, {width});
  if (classPosition) requireShape(op, "classPosition", *classPosition, {width});
  require(!classPosition || classToken, op, "a classPosition without a classToken has nothing to be added to.");
  if (registers) {
    requireRank(op, "registers", *registers, 2, "[R, D]");
    requireShape(op, "registers", *registers, {registers->size(0), width});
  }
  const int64_t registerCount = registers ? registers->size(0) : 0;
  const Tensor out = Tensor::empty(patches.device(), {batch, (classToken ? 1 : 0) + registerCount + tokens, width}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(patches)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::prependTokens(stream, patches, patchPositions, classToken, classPosition, registers, out); });
      return out;
    }
  const auto pointer = [](const std::optional<Tensor>& tensor) -> const float* { return tensor ? tensor->f32() : nullptr; };
  const cpu::PrependTokensArgs args{.batch = batch, .patches = tokens, .registers = registerCount, .width = width, .patchTokens = patches.f32(),
                                    .patchPositions = pointer(patchPositions), .classToken = pointer(classToken),
                                    .classPosition = pointer(classPosition), .registerTokens = pointer(registers), .out = out.f32()};
  cpuQueue(op, patches).enqueue(op, [args](ThreadPool& pool) { cpu::tokensKernels().prependTokens(pool, args); });
  return out;
}

Tensor dropTokens(const Tensor& x, int64_t first) {
  const char* op = "dropTokens";
  requireRank(op, "x", x, 3, "[B, N, D]");
  require(first >= 0 && first <= x.size(1), op, "first is " + std::to_string(first) + "; x has " + std::to_string(x.size(1)) + " tokens.");
  const Tensor out = Tensor::empty(x.device(), {x.size(0), x.size(1) - first, x.size(2)}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::dropTokens(stream, x, first, out); });
      return out;
    }
  const cpu::DropTokensArgs args{.batch = x.size(0), .tokens = x.size(1), .first = first, .width = x.size(2), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::tokensKernels().dropTokens(pool, args); });
  return out;
}

}  // namespace repa::ops
