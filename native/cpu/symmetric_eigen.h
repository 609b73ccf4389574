// The two parts of a symmetric eigen-decomposition that cost O(n^3), in float64: to tridiagonal form by Householder reflections, and
// the eigenvectors from the reflections and the rotations that made the tridiagonal matrix diagonal (core/tridiagonal_ql.h).
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "core/tridiagonal_ql.h"
#include "cpu/level.h"

namespace repa::cpu {

/// A = Q T Q^T, T tridiagonal, Q = H_0 H_1 ... H_{n-3}, H_k = 1 - tau_k v_k v_k^T with v_k zero up to element k and 1 at k + 1.
/// LAPACK's dsytrd and dlatrd: the matrix is brought up to date once in kReflectionPanel columns, by a product; in between it is only
/// read, once a column. Both triangles are kept, so that every row is contiguous and belongs to one thread.
struct TridiagonaliseArgs {
  double* matrix;    ///< [n, n], symmetric; overwritten: row k holds v_k from column k + 1 on
  double* diagonal;  ///< [n]
  double* offDiagonal;  ///< [n], element k couples k and k + 1; the last is 0
  double* tau;          ///< [n]
  int64_t n;
  double* scratch;  ///< [2 * kReflectionPanel + 2][n]
};

constexpr int64_t kReflectionPanel = 32;

/// Row r of `out` is eigenvector order[r]: Q times the rotations, both applied to a panel of coordinates at a time, which stays in the
/// second-level cache throughout.
struct EigenvectorArgs {
  const double* reflections;  ///< [n, n], as TridiagonaliseArgs leaves its matrix
  const double* tau;          ///< [n]
  const Rotation* rotations;
  const RotationSweep* sweeps;
  int64_t sweepCount;
  const int64_t* order;  ///< [n]
  double* out;           ///< [n, n]
  int64_t n;
  double* scratch;  ///< [threads][n * kVectorPanel]
};

constexpr int64_t kVectorPanel = 32;

struct SymmetricEigenKernels {
  void (*tridiagonalise)(ThreadPool& pool, const TridiagonaliseArgs& args);
  void (*eigenvectors)(ThreadPool& pool, const EigenvectorArgs& args);
};

REPA_CPU_KERNELS(SymmetricEigenKernels, symmetricEigenKernels);

}  // namespace repa::cpu
