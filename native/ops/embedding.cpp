#include "ops/embedding.h"

#include "cpu/embedding.h"
#include "cuda/embedding.h"
#include "ops/require.h"

namespace repa::ops {

Tensor timestepEmbedding(const Tensor& t, int64_t dim, double maxPeriod) {
  const char* op = "timestepEmbedding";
  requireRank(op, "t", t, 1, "[B]");
  require(dim >= 1, op, "dim is " + std::to_string(dim) + "; expected at least 1.");
  const Tensor out = Tensor::empty(t.device(), {t.size(0), dim}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(t)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::timestepEmbedding(stream, t, maxPeriod, out); });
      return out;
    }
  const cpu::TimestepEmbeddingArgs args{.batch = t.size(0), .dim = dim, .maxPeriod = maxPeriod, .t = t.f32(), .out = out.f32()};
  cpuQueue(op, t).enqueue(op, [args](ThreadPool& pool) { cpu::embeddingKernels().timestepEmbedding(pool, args); });
  return out;
}

Tensor fourierFeatures(const Tensor& t, const Tensor& frequencies) {
  const char* op = "fourierFeatures";
  requireRank(op, "t", t, 1, "[B]");
  requireRank(op, "frequencies", frequencies, 1, "[F]");
  const Tensor out = Tensor::empty(t.device(), {t.size(0), 2 * frequencies.size(0)}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(t)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::fourierFeatures(stream, t, frequencies, out); });
      return out;
    }
  const cpu::FourierFeaturesArgs args{.batch = t.size(0), .count = frequencies.size(0), .t = t.f32(), .frequencies = frequencies.f32(),
                                      .out = out.f32()};
  cpuQueue(op, t).enqueue(op, [args](ThreadPool& pool) { cpu::embeddingKernels().fourierFeatures(pool, args); });
  return out;
}

Tensor embedding(const Tensor& table, const Tensor& ids) {
  const char* op = "embedding";
  requireRank(op, "table", table, 2, "[rows, D]");
  requireRank(op, "ids", ids, 1, "[N]", DType::i32);
  const Tensor out = Tensor::empty(table.device(), {ids.size(0), table.size(1)}, DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(table)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::embedding(stream, table, ids, out); });
      return out;
    }
  const cpu::EmbeddingArgs args{.count = ids.size(0), .rows = table.size(0), .width = table.size(1), .table = table.f32(), .ids = ids.i32(),
                                .out = out.f32()};
  cpuQueue(op, table).enqueue(op, [args](ThreadPool& pool) { cpu::embeddingKernels().lookup(pool, args); });
  return out;
}

void embeddingBackward(const Tensor& dOut, const Tensor& ids, const Tensor& dTable, bool accumulate) {
  const char* op = "embeddingBackward";
  requireRank(op, "dTable", dTable, 2, "[rows, D]");
  requireRank(op, "ids", ids, 1, "[N]", DType::i32);
  requireShape(op, "dOut", dOut, {ids.size(0), dTable.size(1)});
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dTable))
      return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::embeddingBackward(stream, dOut, ids, dTable, accumulate); });
  const cpu::EmbeddingBackwardArgs args{.count = ids.size(0), .rows = dTable.size(0), .width = dTable.size(1), .ids = ids.i32(),
                                        .dOut = dOut.f32(), .dTable = dTable.f32(), .accumulate = accumulate};
  cpuQueue(op, dTable).enqueue(op, [args](ThreadPool& pool) { cpu::embeddingKernels().lookupBackward(pool, args); });
}

}  // namespace repa::ops
