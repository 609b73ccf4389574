#include "ops/attention.h"

#include "cpu/attention.h"
#include "cpu/qk_norm.h"
#include "cuda/attention.h"
#include "cuda/qk_norm.h"
#include "ops/norm.h"
#include "ops/packed_qkv.h"
#include "ops/reduction.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

/// A LayerNorm has biases [d], or their gradients; an RMSNorm has none.
void requireBiases(const char* op, Norm norm, const char* qName, const std::optional<Tensor>& q, const char* kName,
                   const std::optional<Tensor>& k, int64_t d) {
  for (const auto& [name, bias] : {std::pair{qName, &q}, {kName, &k}}) {
    require(bias->has_value() == isCentred(norm), op, std::string(name) + (*bias ? " is given; an rmsNorm has no bias." : " is missing; a layerNorm has a bias."));
    if (*bias) requireShape(op, name, **bias, {d});
  }
}

const Tensor* pointerTo(const std::optional<Tensor>& tensor) { return tensor ? &*tensor : nullptr; }

float* floatsOf(const std::optional<Tensor>& tensor) { return tensor ? tensor->f32() : nullptr; }

enum class Sees { allTokens, earlierTokens };

std::array<Tensor, 2> forward(const char* op, const Tensor& qkv, int64_t heads, bool keepLse, Sees sees) {
  const bool causal = sees == Sees::earlierTokens;
  const int64_t d = attentionHeadDim(op, "qkv", qkv, heads);
  const Tensor o = Tensor::empty(qkv.device(), {qkv.size(0), qkv.size(1), heads * d}, qkv.dtype(), op);
  Tensor lse;
  if (keepLse) lse = Tensor::empty(qkv.device(), {qkv.size(0), heads, qkv.size(1)}, DType::f32, op);
  if (o.elements() == 0) return {o, lse};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::attention(stream, qkv, heads, causal, o, lse); });
      return {o, lse};
    }
  CpuDevice& queue = cpuQueue(op, qkv);
  cpu::AttentionForwardArgs args{.qkv = qkv.f32(), .o = o.f32(), .lse = keepLse ? lse.f32() : nullptr, .batch = qkv.size(0), .tokens = qkv.size(1),
                                 .heads = heads, .headDim = d, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::attentionKernels().forwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  const auto run = causal ? cpu::attentionKernels().causalForward : cpu::attentionKernels().forward;
  queue.enqueue(op, [run, args](ThreadPool& pool) { run(pool, args); });
  return {o, lse};
}

}  // namespace

std::array<Tensor, 2> attention(const Tensor& qkv, int64_t heads, bool keepLse) {
  return forward("attention", qkv, heads, keepLse, Sees::allTokens);
}

Tensor causalAttention(const Tensor& qkv, int64_t heads) { return forward("causalAttention", qkv, heads, false, Sees::earlierTokens)[0]; }

Tensor attentionBackward(const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads, const std::optional<Tensor>& dBias,
                         bool accumulate) {
  const char* op = "attentionBackward";
  const int64_t d = attentionHeadDim(op, "qkv", qkv, heads);
  requireShape(op, "o", o, {qkv.size(0), qkv.size(1), heads * d}, qkv.dtype());
  requireShape(op, "dO", dO, o.shape(), qkv.dtype());
  requireShape(op, "lse", lse, {qkv.size(0), heads, qkv.size(1)});
  if (dBias) requireShape(op, "dBias", *dBias, {qkv.size(2)});
  const Tensor dQkv = Tensor::empty(qkv.device(), qkv.shape(), qkv.dtype(), op);
  if (dQkv.elements() == 0) {
    if (dBias) columnSum(dQkv, *dBias, accumulate);
    return dQkv;
  }
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      const bool sums = dBias && cuda::attentionBackwardSums(qkv);
      const std::optional<Tensor> here = sums ? dBias : std::nullopt;
      const Tensor scratch = Tensor::empty(*cuda, {cuda::attentionBackwardScratchFloats(qkv, heads, sums)}, DType::f32, op);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::attentionBackward(stream, dO, qkv, o, lse, heads, scratch.f32(), dQkv, here, accumulate); });
      if (dBias && !sums) columnSum(dQkv, *dBias, accumulate);
      return dQkv;
    }
  CpuDevice& queue = cpuQueue(op, qkv);
  cpu::AttentionBackwardArgs args{.qkv = qkv.f32(), .o = o.f32(), .lse = lse.f32(), .dO = dO.f32(), .dqkv = dQkv.f32(), .batch = qkv.size(0),
                                  .tokens = qkv.size(1), .heads = heads, .headDim = d, .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::attentionKernels().backwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::attentionKernels().backward(pool, args); });
  if (dBias) columnSum(dQkv, *dBias, accumulate);
  return dQkv;
}

std::array<Tensor, 3> qkNorm(const Tensor& qkv, const Tensor& qWeight, const std::optional<Tensor>& qBias, const Tensor& kWeight,
                             const std::optional<Tensor>& kBias, int64_t heads, const std::string& normName, double epsilon) {
  const char* op = "qkNorm";
  const Norm norm = normOf(op, normName);
  const int64_t d = headDim(op, "qkv", qkv, heads);
  require(d >= 1, op, "head_dim is 0; expected at least 1.");
  requireShape(op, "qWeight", qWeight, {d});
  requireShape(op, "kWeight", kWeight, {d});
  requireBiases(op, norm, "qBias", qBias, "kBias", kBias, d);
  const Shape statistics{qkv.size(0), qkv.size(1), 2, heads};
  const Tensor normed = Tensor::empty(qkv.device(), qkv.shape(), qkv.dtype(), op);
  const Tensor mean = Tensor::empty(qkv.device(), statistics, DType::f32, op);
  const Tensor rstd = Tensor::empty(qkv.device(), statistics, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::qkNorm(stream, qkv, qWeight, pointerTo(qBias), kWeight, pointerTo(kBias), heads, norm, static_cast<float>(epsilon), normed, mean,
                     rstd);
      });
      return {normed, mean, rstd};
    }
  const cpu::QkNormForwardArgs args{.qkv = qkv.f32(), .qWeight = qWeight.f32(), .qBias = floatsOf(qBias), .kWeight = kWeight.f32(), .kBias = floatsOf(kBias),
                                    .normed = normed.f32(), .mean = mean.f32(), .rstd = rstd.f32(), .rows = qkv.size(0) * qkv.size(1), .heads = heads,
                                    .headDim = d, .centred = isCentred(norm), .eps = static_cast<float>(epsilon)};
  cpuQueue(op, qkv).enqueue(op, [args](ThreadPool& pool) { cpu::qkNormKernels().forward(pool, args); });
  return {normed, mean, rstd};
}

Tensor qkNormBackward(const Tensor& dNormed, const Tensor& qkv, const Tensor& qWeight, const Tensor& kWeight, const Tensor& mean, const Tensor& rstd,
                      int64_t heads, const std::string& normName, const Tensor& dqWeight, const std::optional<Tensor>& dqBias,
                      const Tensor& dkWeight, const std::optional<Tensor>& dkBias, bool accumulate) {
  const char* op = "qkNormBackward";
  const Norm norm = normOf(op, normName);
  const int64_t d = headDim(op, "qkv", qkv, heads);
  require(d >= 1, op, "head_dim is 0; expected at least 1.");
  requireShape(op, "dNormed", dNormed, qkv.shape(), qkv.dtype());
  for (const auto& [name, tensor] : {std::pair{"qWeight", &qWeight}, {"kWeight", &kWeight}, {"dqWeight", &dqWeight}, {"dkWeight", &dkWeight}})
    requireShape(op, name, *tensor, {d});
  requireBiases(op, norm, "dqBias", dqBias, "dkBias", dkBias, d);
  const Shape statistics{qkv.size(0), qkv.size(1), 2, heads};
  requireShape(op, "mean", mean, statistics);
  requireShape(op, "rstd", rstd, statistics);
  const Tensor dQkv = Tensor::empty(qkv.device(), qkv.shape(), qkv.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      const Tensor scratch = Tensor::empty(*cuda, {cuda::qkNormBackwardScratchFloats(qkv, heads)}, DType::f32, op);
      const cuda::QkNormGradients gradients{dqWeight.f32(), floatsOf(dqBias), dkWeight.f32(), floatsOf(dkBias)};
      cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::qkNormBackward(stream, dNormed, qkv, qWeight, kWeight, mean, rstd, heads, norm, gradients, accumulate, scratch.f32(), dQkv);
      });
      return dQkv;
    }
  CpuDevice& queue = cpuQueue(op, qkv);
  cpu::QkNormBackwardArgs args{.qkv = qkv.f32(), .qWeight = qWeight.f32(), .kWeight = kWeight.f32(), .mean = mean.f32(), .rstd = rstd.f32(),
                               .dNormed = dNormed.f32(), .dqkv = dQkv.f32(), .dqWeight = dqWeight.f32(), .dqBias = floatsOf(dqBias), .dkWeight = dkWeight.f32(),
                               .dkBias = floatsOf(dkBias), .accumulate = accumulate, .rows = qkv.size(0) * qkv.size(1), .heads = heads, .headDim = d,
                               .centred = isCentred(norm), .scratch = nullptr};
  const Tensor scratch = scratchFloats(queue, cpu::qkNormKernels().backwardScratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::qkNormKernels().backward(pool, args); });
  return dQkv;
}

}  // namespace repa::ops
