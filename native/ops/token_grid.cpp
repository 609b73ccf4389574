#include "ops/token_grid.h"

#include "cpu/token_grid.h"
#include "cuda/token_grid.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

constexpr int64_t kCells = 9;

void requireGrid(const char* op, const char* name, const Tensor& x, int64_t rows, int64_t columns) {
  requireCompute(op, name, x);
  requireRank(op, name, x, 3, "[B, T, D]", x.dtype());
  require(rows > 0 && columns > 0 && x.size(1) % rows == 0 && x.size(1) / rows == columns, op,
          std::string(name) + " has shape " + x.shape().text() + ", which is not that of a grid of " + std::to_string(rows) + " x " +
              std::to_string(columns) + " tokens.");
}

}  // namespace

Tensor unfoldTokens(const Tensor& x, int64_t rows, int64_t columns) {
  const char* op = "unfoldTokens";
  requireGrid(op, "x", x, rows, columns);
  const Tensor out = Tensor::empty(x.device(), {x.size(0), x.size(1), kCells * x.size(2)}, x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::unfoldTokens(stream, x, rows, columns, out); });
      return out;
    }
  const cpu::UnfoldTokensArgs args{.batch = x.size(0), .rows = rows, .columns = columns, .width = x.size(2), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::tokenGridKernels().unfoldTokens(pool, args); });
  return out;
}

Tensor unfoldTokensBackward(const Tensor& dOut, int64_t rows, int64_t columns) {
  const char* op = "unfoldTokensBackward";
  requireGrid(op, "dOut", dOut, rows, columns);
  require(dOut.size(2) % kCells == 0, op, "dOut has shape " + dOut.shape().text() + "; its last axis must be a multiple of 9.");
  const int64_t width = dOut.size(2) / kCells;
  const Tensor dX = Tensor::empty(dOut.device(), {dOut.size(0), dOut.size(1), width}, dOut.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(dOut)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::unfoldTokensBackward(stream, dOut, rows, columns, dX); });
      return dX;
    }
  const cpu::UnfoldTokensBackwardArgs args{.batch = dOut.size(0), .rows = rows, .columns = columns, .width = width, .dOut = dOut.f32(),
                                           .dX = dX.f32()};
  cpuQueue(op, dOut).enqueue(op, [args](ThreadPool& pool) { cpu::tokenGridKernels().unfoldTokensBackward(pool, args); });
  return dX;
}

Tensor standardizeTokens(const Tensor& x, double share, double epsilon) {
  const char* op = "standardizeTokens";
  requireRank(op, "x", x, 3, "[B, T, D]");
  require(x.size(1) >= 2, op, "x has shape " + x.shape().text() + "; a standard deviation needs two tokens at least.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::standardizeTokens(stream, x, static_cast<float>(share), static_cast<float>(epsilon), out); });
      return out;
    }
  const cpu::StandardizeTokensArgs args{.batch = x.size(0), .tokens = x.size(1), .width = x.size(2), .share = static_cast<float>(share),
                                        .epsilon = static_cast<float>(epsilon), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::tokenGridKernels().standardizeTokens(pool, args); });
  return out;
}

}  // namespace repa::ops
