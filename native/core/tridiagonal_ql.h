// Eigenvalues of a symmetric tridiagonal matrix by the implicit QL method (EISPACK's imtql1 and imtql2), and the rotations that it
// makes, for whoever wants eigenvectors: applying them is O(n^3) and parallel, finding them O(n^2) and not.
#pragma once

#include <cstdint>
#include <vector>

namespace repa {

struct Rotation {
  double cosine, sine;
};

/// Rotations of columns (i, i + 1) for i = last - 1, last - 2 ... first, one for each: before := column i, after := column i + 1;
/// column i + 1 = sine * before + cosine * after, column i = cosine * before - sine * after.
struct RotationSweep {
  int64_t first, last;
};

struct RotationLog {
  std::vector<Rotation> rotations;
  std::vector<RotationSweep> sweeps;
};

/// `diagonal` [n] becomes the eigenvalues, in no order; `offDiagonal` [n] (element i couples i and i + 1, the last is ignored) is
/// overwritten. `log` may be null. Errors are those of rounding the largest element. False where an
/// eigenvalue does not converge; the elements have to be finite.
bool tridiagonalQl(double* diagonal, double* offDiagonal, int64_t n, RotationLog* log);

}  // namespace repa
