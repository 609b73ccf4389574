// A branch's output added to the residual stream, gated by a sample's condition (adaLN-zero) or by a learned vector (LayerScale: one
// group of all rows). Forward: one warp a row, so that neighbouring lanes take neighbouring columns and no index is divided but the
// row's; 16 bytes of the stream and 4 elements of the branch a lane, four of each under way at once. Backward: branch_backward.h without a
// LayerNorm behind the join.
#include "cuda/residual.h"

#include "cuda/branch_backward.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/modulation.h"
#include "cuda/read_only.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kRowsOfBlock = 8;
constexpr int kThreads = 32 * kRowsOfBlock;

/// out = x + gate y. x, y and out are [rows, width]; `groupRows` rows share a gate.
template <class T>
struct Gated {
  int64_t rows, width, groupRows;
  const float* x;
  const T* y;
  const float* gate;
  int64_t gateStride;
  float* out;
};

/// N is 4, or 1 where the rows are not aligned.
template <int N, class T>
__global__ void __launch_bounds__(kThreads) gatedKernel(Gated<T> args) {
  const int64_t row = int64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / 32;
  if (row >= args.rows) return;
  const float* gate = args.gate + row / args.groupRows * args.gateStride;
  const int64_t first = row * args.width;
#pragma unroll 4
  for (int64_t column = threadIdx.x % 32 * N; column < args.width; column += 32 * N) {
    if constexpr (N == 4) {
      float x[4], y[4], g[4];
      loadReadOnly(x, args.x + first + column);
      loadReadOnly(y, args.y + first + column);
      loadReadOnly(g, gate + column);
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] += g[j] * y[j];
      store(args.out + first + column, x);
    } else {
      args.out[first + column] = args.x[first + column] + gate[column] * toFloat(args.y[first + column]);
    }
  }
}

template <class T>
void gated(cudaStream_t stream, const Gated<T>& args) {
  if (args.rows == 0 || args.width == 0) return;
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>((args.rows + kRowsOfBlock - 1) / kRowsOfBlock)), .block = dim3(kThreads)};
  const bool aligned = args.width % 4 == 0 && args.gateStride % 4 == 0 && aligned16(args.x, args.y, args.gate, args.out);
  if (aligned) launch(stream, gatedKernel<4, T>, shape, args);
  else launch(stream, gatedKernel<1, T>, shape, args);
}

/// The backward pass without what differs between the two forms: the gate and where its gradient goes.
template <class T>
BranchBackward<T> backwardOf(int64_t groups, int64_t rows, const Tensor& dOut, const Tensor& y, const Tensor& dY, const Tensor& scratch) {
  return {.groups = groups,
          .rows = rows,
          .width = dOut.size(-1),
          .dOut = nullptr,
          .x = nullptr,
          .mean = nullptr,
          .rstd = nullptr,
          .centred = false,
          .base = 0.0f,
          .factor = nullptr,
          .factorStride = 0,
          .dResidual = dOut.f32(),
          .dX = nullptr,
          .y = elements<const T>(y),
          .gate = nullptr,
          .gateStride = 0,
          .dY = elements<T>(dY),
          .dOffset = {},
          .dFactor = {},
          .dGate = {},
          .dBias = {},
          .scratch = scratch.f32()};
}

}  // namespace

void gatedResidual(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& modulation, int64_t gateChunk, const Tensor& out) {
  withComputeType(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    gated<T>(stream, {.rows = x.size(0) * x.size(1),
                      .width = x.size(2),
                      .groupRows = x.size(1),
                      .x = x.f32(),
                      .y = elements<const T>(y),
                      .gate = chunkOf(modulation, gateChunk),
                      .gateStride = strideOf(modulation),
                      .out = out.f32()});
  });
}

void gatedResidualBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& modulation, int64_t gateChunk,
                           const Tensor& dModulation, const Tensor* dBias, bool accumulateBias, const Tensor& dY, const Tensor& scratch) {
  withComputeType(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    BranchBackward<T> of = backwardOf<T>(dOut.size(0), dOut.size(1), dOut, y, dY, scratch);
    of.gate = chunkOf(modulation, gateChunk);
    of.gateStride = strideOf(modulation);
    of.dGate = RowSum{.out = chunkOf(dModulation, gateChunk), .stride = strideOf(dModulation)};
    if (dBias) of.dBias = RowSum{.out = dBias->f32(), .acrossGroups = true, .accumulate = accumulateBias};
    branchBackward<false, true, T>(stream, of);
  });
}

void layerScale(cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& gamma, const Tensor& out) {
  const int64_t width = x.size(-1), rows = width > 0 ? x.elements() / width : 0;
  withComputeType(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    gated<T>(stream, {.rows = rows,
                      .width = width,
                      .groupRows = rows,
                      .x = x.f32(),
                      .y = elements<const T>(y),
                      .gate = gamma.f32(),
                      .gateStride = 0,
                      .out = out.f32()});
  });
}

void layerScaleBackward(cudaStream_t stream, const Tensor& dOut, const Tensor& y, const Tensor& gamma, const Tensor& dGamma,
                        bool accumulate, const Tensor& dY, const Tensor& scratch) {
  const int64_t width = dOut.size(-1), rows = width > 0 ? dOut.elements() / width : 0;
  withComputeType(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    BranchBackward<T> of = backwardOf<T>(1, rows, dOut, y, dY, scratch);
    of.gate = gamma.f32();
    of.dGate = RowSum{.out = dGamma.f32(), .accumulate = accumulate};
    branchBackward<false, true, T>(stream, of);
  });
}

int64_t gatedResidualBackwardScratchFloats(int64_t batch, int64_t tokens, int64_t width, bool hasBias) {
  return branchBackwardScratchFloats(batch, tokens, width, hasBias ? 2 : 1, hasBias ? 1 : 0);
}

int64_t layerScaleBackwardScratchFloats(int64_t rows, int64_t width, bool accumulate) {
  return branchBackwardScratchFloats(1, rows, width, 1, accumulate ? 1 : 0);
}

}  // namespace repa::cuda
