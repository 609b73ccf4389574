#include "ops/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "core/tridiagonal_ql.h"
#include "cpu/float64_matrix.h"
#include "cpu/neighbours.h"
#include "cpu/symmetric_eigen.h"
#include "ops/require.h"

namespace repa::ops {
namespace {

Tensor scratchDoubles(Device& queue, int64_t doubles, const char* op) { return Tensor::empty(queue, {doubles > 0 ? doubles : 1}, DType::f64, op); }

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool areFinite(const double* values, size_t count) {
  return std::all_of(values, values + count, [](double value) { return std::isfinite(value); });
}

}  // namespace

void accumulateCovariance(const Tensor& x, const Tensor& shift, const Tensor& sum, const Tensor& products) {
  const char* op = "accumulateCovariance";
  requireRank(op, "x", x, 2, "[N, D]");
  const int64_t count = x.size(0), width = x.size(1);
  requireShape(op, "shift", shift, {width}, DType::f64);
  requireShape(op, "sum", sum, {width}, DType::f64);
  requireShape(op, "products", products, {width, width}, DType::f64);
  CpuDevice& queue = cpuQueue(op, x);
  if (x.elements() == 0) return;
  const Tensor centred = scratchDoubles(queue, count * width, op);
  const Tensor scratch = scratchDoubles(queue, queue.threads() * cpu::kFloat64ProductScratch, op);
  const cpu::CentreArgs centre{.x = x.f32(), .shift = shift.f64(), .out = centred.f64(), .sum = sum.f64(), .count = count, .width = width};
  const cpu::Float64ProductArgs product{.a = centred.f64(), .b = centred.f64(), .out = products.f64(), .rows = width, .columns = width, .width = count,
                                        .accumulate = true, .lowerOnly = true, .scratch = scratch.f64()};
  queue.enqueue(op, [centre, product](ThreadPool& pool) {
    const auto& kernels = cpu::float64MatrixKernels();
    kernels.centre(pool, centre);
    kernels.product(pool, product);
  });
}

Tensor float64Product(const Tensor& a, const Tensor& b) {
  const char* op = "float64Product";
  requireRank(op, "a", a, 2, "[M, K]", DType::f64);
  requireRank(op, "b", b, 2, "[N, K]", DType::f64);
  requireShape(op, "b", b, {b.size(0), a.size(1)}, DType::f64);
  CpuDevice& queue = cpuQueue(op, a);
  const Tensor out = Tensor::empty(queue, {a.size(0), b.size(0)}, DType::f64, op);
  const Tensor scratch = scratchDoubles(queue, queue.threads() * cpu::kFloat64ProductScratch, op);
  const cpu::Float64ProductArgs args{.a = a.f64(), .b = b.f64(), .out = out.f64(), .rows = a.size(0), .columns = b.size(0), .width = a.size(1),
                                     .accumulate = false, .lowerOnly = false, .scratch = scratch.f64()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::float64MatrixKernels().product(pool, args); });
  return out;
}

std::array<Tensor, 2> symmetricEigen(const Tensor& matrix, bool wantsVectors) {
  const char* op = "symmetricEigen";
  requireRank(op, "matrix", matrix, 2, "[N, N]", DType::f64);
  const int64_t n = matrix.size(0);
  requireShape(op, "matrix", matrix, {n, n}, DType::f64);
  CpuDevice& queue = cpuQueue(op, matrix);
  const Tensor values = Tensor::empty(queue, {n}, DType::f64, op);
  const Tensor vectors = wantsVectors ? Tensor::empty(queue, {n, n}, DType::f64, op) : Tensor();
  if (n == 0) return {values, vectors};
  const Tensor work = scratchDoubles(queue, n * n, op);
  const int64_t panels = wantsVectors ? queue.threads() * n * cpu::kVectorPanel : 0;
  const Tensor scratch = scratchDoubles(queue, 3 * n + std::max((2 * cpu::kReflectionPanel + 2) * n, panels), op);
  double* diagonal = scratch.f64();
  const cpu::TridiagonaliseArgs args{.matrix = work.f64(), .diagonal = diagonal, .offDiagonal = diagonal + n, .tau = diagonal + 2 * n, .n = n,
                                     .scratch = diagonal + 3 * n};
  queue.enqueue(op, [args, from = matrix.f64(), out = values.f64(), vectorsOut = wantsVectors ? vectors.f64() : nullptr](ThreadPool& pool) {
    const auto& kernels = cpu::symmetricEigenKernels();
    const auto n = static_cast<size_t>(args.n);
    std::memcpy(args.matrix, from, n * n * sizeof(double));
    RotationLog log;
    const auto isFound = [&] {
      if (!areFinite(args.matrix, n * n)) return false;
      kernels.tridiagonalise(pool, args);
      // Beside the diagonal the iteration would take a NaN for 0.
      if (!areFinite(args.diagonal, n) || !areFinite(args.offDiagonal, n)) return false;
      return tridiagonalQl(args.diagonal, args.offDiagonal, args.n, vectorsOut ? &log : nullptr) && areFinite(args.diagonal, n);
    };
    if (!isFound()) {
      std::fill_n(out, n, kNaN);
      if (vectorsOut) std::fill_n(vectorsOut, n * n, kNaN);
      return;
    }
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return args.diagonal[a] < args.diagonal[b]; });
    for (size_t i = 0; i < n; ++i) out[i] = args.diagonal[order[i]];
    if (!vectorsOut) return;
    const cpu::EigenvectorArgs vectorArgs{.reflections = args.matrix, .tau = args.tau, .rotations = log.rotations.data(), .sweeps = log.sweeps.data(),
                                          .sweepCount = static_cast<int64_t>(log.sweeps.size()), .order = order.data(), .out = vectorsOut, .n = args.n,
                                          .scratch = args.scratch};
    kernels.eigenvectors(pool, vectorArgs);
  });
  return {values, vectors};
}

Tensor neighbourRadii(const Tensor& points, const Tensor& x, int64_t k) {
  const char* op = "neighbourRadii";
  requireRank(op, "points", points, 2, "[M, D]");
  requireRank(op, "x", x, 2, "[N, D]");
  requireShape(op, "x", x, {x.size(0), points.size(1)});
  require(k >= 0 && k < x.size(0), op, "k is " + std::to_string(k) + "; expected 0 to " + std::to_string(x.size(0) - 1) + ", one less than the rows.");
  CpuDevice& queue = cpuQueue(op, points);
  const Tensor out = Tensor::empty(queue, {points.size(0)}, DType::f32, op);
  const Tensor scratch = scratchFloats(queue, queue.threads() * (cpu::kPairScratch + cpu::kPairRows * (k + 1)), op);
  const cpu::NeighbourRadiiArgs args{.points = points.f32(), .x = x.f32(), .count = points.size(0), .others = x.size(0), .width = x.size(1),
                                     .k = k, .out = out.f32(), .scratch = scratch.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::neighbourKernels().radii(pool, args); });
  return out;
}

Tensor insideBalls(const Tensor& points, const Tensor& centres, const Tensor& squaredRadii) {
  const char* op = "insideBalls";
  requireRank(op, "points", points, 2, "[M, D]");
  requireRank(op, "centres", centres, 2, "[N, D]");
  requireShape(op, "centres", centres, {centres.size(0), points.size(1)});
  requireShape(op, "squaredRadii", squaredRadii, {centres.size(0)});
  CpuDevice& queue = cpuQueue(op, points);
  const Tensor out = Tensor::empty(queue, {points.size(0)}, DType::u8, op);
  const Tensor scratch = scratchFloats(queue, queue.threads() * cpu::kPairScratch, op);
  const cpu::InsideBallsArgs args{.points = points.f32(), .centres = centres.f32(), .radii = squaredRadii.f32(), .count = points.size(0),
                                  .balls = centres.size(0), .width = points.size(1), .out = out.u8(), .scratch = scratch.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::neighbourKernels().insideBalls(pool, args); });
  return out;
}

Tensor mostSimilar(const Tensor& x, int64_t k, bool includeSelf) {
  const char* op = "mostSimilar";
  requireRank(op, "x", x, 2, "[N, D]", DType::f64);
  const int64_t candidates = x.size(0) - (includeSelf ? 0 : 1);
  require(k >= 1 && k <= candidates, op, "k is " + std::to_string(k) + "; expected 1 to " + std::to_string(candidates) + ", the candidates of a row.");
  require(x.size(0) < int64_t{1} << 31, op, "more than 2^31 rows.");
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, {x.size(0), k}, DType::i32, op);
  const Tensor scratch = scratchDoubles(queue, queue.threads() * (cpu::kPairScratch + cpu::kPairRows * k), op);
  const cpu::MostSimilarArgs args{.x = x.f64(), .count = x.size(0), .width = x.size(1), .k = k, .includeSelf = includeSelf, .out = out.i32(),
                                  .scratch = scratch.f64()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::neighbourKernels().mostSimilar(pool, args); });
  return out;
}

}  // namespace repa::ops
