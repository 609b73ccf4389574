// Weighted sums in float64: the arithmetic of the samplers, whose states are float64 while the model runs in a narrower dtype.
// Bound by memory, and small beside one call of the model.
//
// A term after the first is one fused multiply-add, as it is in the CPU's kernels for AVX2 and AVX-512: the bits are theirs.
#include "cuda/linear_combination.h"

#include "cpu/linear_combination.h"
#include "cuda/blocks.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

struct Terms {
  cpu::LinearCombinationTerm term[cpu::kMaxLinearCombinationTerms];
  int count;
};

template <int N, class Value>
__device__ __forceinline__ void addTerm(double (&sum)[N], const Value* values, double coefficient, bool first) {
  const Vector<Value, N> x = *reinterpret_cast<const Vector<Value, N>*>(values);
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = first ? coefficient * x.values[i] : fma(coefficient, static_cast<double>(x.values[i]), sum[i]);
}

/// Elements [at, at + N) of the sum.
template <int N>
__device__ __forceinline__ void sumTerms(const Terms& terms, int64_t at, double* out) {
  double sum[N] = {};
  for (int k = 0; k < terms.count; ++k) {
    const cpu::LinearCombinationTerm& term = terms.term[k];
    if (term.isDouble) addTerm(sum, static_cast<const double*>(term.values) + at, term.coefficient, k == 0);
    else addTerm(sum, static_cast<const float*>(term.values) + at, term.coefficient, k == 0);
  }
  Vector<double, N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result.values[i] = sum[i];
  *reinterpret_cast<Vector<double, N>*>(out + at) = result;
}

/// N elements a thread, and one at a time at the end that no N divides. `out` may be the memory of any double term.
template <int N>
__global__ void __launch_bounds__(kThreads) linearCombinationKernel(int64_t count, const Terms terms, double* out) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= count) return sumTerms<N>(terms, first, out);
  for (int64_t i = first; i < count; ++i) sumTerms<1>(terms, i, out);
}

}  // namespace

void linearCombination(cudaStream_t stream, const std::vector<double>& coefficients, const std::vector<Tensor>& values, const Tensor& out) {
  const int64_t count = out.elements();
  if (count == 0) return;
  Terms terms = {};
  terms.count = static_cast<int>(values.size());
  bool aligned = aligned16(out.f64());
  for (size_t k = 0; k < values.size(); ++k) {
    terms.term[k] = cpu::LinearCombinationTerm{.values = values[k].data(), .isDouble = values[k].dtype() == DType::f64, .coefficient = coefficients[k]};
    aligned = aligned && aligned16(static_cast<const char*>(values[k].data()));
  }
  const auto run = [&](auto kernel, int perThread) {
    const LaunchShape shape{.grid = dim3(blocksFor(count, int64_t{kThreads} * perThread)), .block = dim3(kThreads)};
    launch(stream, kernel, shape, count, terms, out.f64());
  };
  if (aligned) run(linearCombinationKernel<2>, 2);
  else run(linearCombinationKernel<1>, 1);
}

}  // namespace repa::cuda
