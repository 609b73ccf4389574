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

Tensor gatherTokens(const Tensor& x, const Tensor& ids, const std::optional<Tensor>& fill) {
  const char* op = "gatherTokens";
  requireRank(op, "x", x, 3, "[B, N, D]");
  requireRank(op, "ids", ids, 2, "[B, M]", DType::i32);
  const int64_t batch = x.size(0), taken = ids.size(1), width = x.size(2);
  requireShape(op, "ids", ids, {batch, taken}, DType::i32);
  if (fill) requireShape(op, "fill", *fill, {width});
  const Tensor out = Tensor::empty(x.device(), {batch, taken, width}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::gatherTokens(stream, x, ids, fill ? &*fill : nullptr, out); });
      return out;
    }
  const cpu::GatherTokensArgs args{.batch = batch, .tokens = x.size(1), .taken = taken, .width = width, .x = x.f32(), .ids = ids.i32(),
                                   .fill = fill ? fill->f32() : nullptr, .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::tokensKernels().gatherTokens(pool, args); });
  return out;
}

std::array<Tensor, 2> gatherTokensBackward(const Tensor& dOut, const Tensor& ids, int64_t tokens, bool filled) {
  const char* op = "gatherTokensBackward";
  requireRank(op, "dOut", dOut, 3, "[B, M, D]");
  const int64_t batch = dOut.size(0), taken = dOut.size(1), width = dOut.size(2);
  requireShape(op, "ids", ids, {batch, taken}, DType::i32);
  require(tokens >= 0, op, "tokens is " + std::to_string(tokens) + "; expected the number of tokens of x.");
  const Tensor dX = Tensor::empty(dOut.device(), {batch, tokens, width}, DType::f32, op);
  const Tensor dFill = filled ? Tensor::empty(dOut.device(), {batch, width}, DType::f32, op) : Tensor();
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dOut)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::gatherTokensBackward(stream, dOut, ids, dX, filled ? &dFill : nullptr); });
      return {dX, dFill};
    }
  const cpu::GatherTokensBackwardArgs args{.batch = batch, .tokens = tokens, .taken = taken, .width = width, .dOut = dOut.f32(),
                                           .ids = ids.i32(), .dX = dX.f32(), .dFill = filled ? dFill.f32() : nullptr};
  cpuQueue(op, dOut).enqueue(op, [args](ThreadPool& pool) { cpu::tokensKernels().gatherTokensBackward(pool, args); });
  return {dX, dFill};
}

Tensor mergeTokens(const std::optional<Tensor>& base, const std::optional<Tensor>& x, const Tensor& places) {
  const char* op = "mergeTokens";
  require(base || x, op, "there is neither a base nor x; give one of them at least.");
  requireRank(op, "places", places, 2, "[B, N]", DType::i32);
  if (base) requireRank(op, "base", *base, 3, "[B, N, D]");
  if (x) requireRank(op, "x", *x, 3, "[B, M, D]");
  const int64_t batch = places.size(0), tokens = places.size(1), width = (base ? *base : *x).size(2);
  if (base) requireShape(op, "base", *base, {batch, tokens, width});
  if (x) requireShape(op, "x", *x, {batch, x->size(1), width});
  const Tensor out = Tensor::empty(places.device(), {batch, tokens, width}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(places)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::mergeTokens(stream, base ? &*base : nullptr, x ? &*x : nullptr, places, out); });
      return out;
    }
  const cpu::MergeTokensArgs args{.batch = batch, .tokens = tokens, .merged = x ? x->size(1) : 0, .width = width,
                                  .base = base ? base->f32() : nullptr, .x = x ? x->f32() : nullptr, .places = places.i32(),
                                  .out = out.f32()};
  cpuQueue(op, places).enqueue(op, [args](ThreadPool& pool) { cpu::tokensKernels().mergeTokens(pool, args); });
  return out;
}

}  // namespace repa::ops
