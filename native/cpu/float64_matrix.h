// Matrices in float64, for statistics of features: products, and the sums that means and covariances are made of.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// out[i][j] (+)= sum over k of a[i][k] * b[j][k].
struct Float64ProductArgs {
  const double* a;  ///< [rows, width]
  const double* b;  ///< [columns, width]
  double* out;      ///< [rows, columns]
  int64_t rows, columns, width;
  bool accumulate;
  bool lowerOnly;   ///< only blocks that hold elements on or below the diagonal
  double* scratch;  ///< [threads][kFloat64ProductScratch]
};

constexpr int64_t kFloat64ProductScratch = 128 * 256;

/// out[d][n] = x[n][d] - shift[d]; sum[d] += the row of out.
struct CentreArgs {
  const float* x;       ///< [count, width]
  const double* shift;  ///< [width]
  double* out;          ///< [width, count]
  double* sum;          ///< [width]
  int64_t count, width;
};

struct Float64MatrixKernels {
  void (*product)(ThreadPool& pool, const Float64ProductArgs& args);
  void (*centre)(ThreadPool& pool, const CentreArgs& args);
};

REPA_CPU_KERNELS(Float64MatrixKernels, float64MatrixKernels);

}  // namespace repa::cpu
