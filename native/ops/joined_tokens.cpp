#include "ops/joined_tokens.h"

#include "cpu/joined_tokens.h"
#include "cuda/joined_tokens.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

void requireTokens(const char* op, const char* name, const Tensor& tensor, const char* axes) {
  requireCompute(op, name, tensor);
  requireRank(op, name, tensor, 3, axes, tensor.dtype());
}

}  // namespace

Tensor joinTokens(const std::optional<Tensor>& first, const std::optional<Tensor>& rest, int64_t zeros) {
  const char* op = "joinTokens";
  require(first || rest, op, "there is neither a first nor a rest; give one of them at least.");
  if (first) requireTokens(op, "first", *first, "[B, M, D]");
  if (rest) requireTokens(op, "rest", *rest, "[B, N, D]");
  if (first && rest) requireShape(op, "rest", *rest, {first->size(0), rest->size(1), first->size(2)}, first->dtype());
  require(zeros == 0 || (zeros > 0 && !(first && rest)), op,
          "zeros is " + std::to_string(zeros) + "; expected the number of tokens of what is left out, 0 where nothing is.");
  const Tensor& given = first ? *first : *rest;
  const int64_t batch = given.size(0), width = given.size(2);
  const int64_t firstTokens = first ? first->size(1) : zeros, restTokens = rest ? rest->size(1) : zeros;
  const Tensor out = Tensor::empty(given.device(), {batch, firstTokens + restTokens, width}, given.dtype(), op);
  if (out.elements() == 0) return out;
  const int64_t tokenBytes = width * dtypeBytes(out.dtype());
  const cpu::JoinTokensArgs args{.batch = batch, .firstBytes = firstTokens * tokenBytes, .restBytes = restTokens * tokenBytes,
                                 .first = first ? first->data() : nullptr, .rest = rest ? rest->data() : nullptr, .out = out.data()};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(given)) {
      requireIndexable(op, "the result", out.elements());
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::joinTokens(stream, args, dtypeBytes(out.dtype())); });
      return out;
    }
  cpuQueue(op, given).enqueue(op, [args](ThreadPool& pool) { cpu::joinedTokensKernels().joinTokens(pool, args); });
  return out;
}

std::array<Tensor, 2> splitTokens(const Tensor& x, int64_t first) {
  const char* op = "splitTokens";
  requireTokens(op, "x", x, "[B, N, D]");
  require(first >= 0 && first <= x.size(1), op, "first is " + std::to_string(first) + "; x has " + std::to_string(x.size(1)) + " tokens.");
  const Tensor before = Tensor::empty(x.device(), {x.size(0), first, x.size(2)}, x.dtype(), op);
  const Tensor behind = Tensor::empty(x.device(), {x.size(0), x.size(1) - first, x.size(2)}, x.dtype(), op);
  if (x.elements() == 0) return {before, behind};
  const int64_t tokenBytes = x.size(2) * dtypeBytes(x.dtype());
  const cpu::SplitTokensArgs args{.batch = x.size(0), .firstBytes = first * tokenBytes, .restBytes = (x.size(1) - first) * tokenBytes,
                                  .x = x.data(), .first = before.data(), .rest = behind.data()};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      requireIndexable(op, "x", x.elements());
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::splitTokens(stream, args, dtypeBytes(x.dtype())); });
      return {before, behind};
    }
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::joinedTokensKernels().splitTokens(pool, args); });
  return {before, behind};
}

}  // namespace repa::ops
