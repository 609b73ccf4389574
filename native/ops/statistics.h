// Statistics of features, on the CPU alone, where features end up: float64 sums and decompositions for Fréchet distances, and
// neighbours for precision and recall and for CKNNA. All of it runs in the device's queue; the caller is not held up.
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace repa::ops {

/// sum[d] += Σ_n (x[n][d] − shift[d]), products[d][e] += Σ_n (x[n][d] − shift[d]) (x[n][e] − shift[e]) for e <= d; elements above the
/// diagonal are undefined. x [N, D] f32; shift, sum [D] and products [D, D] f64. With a shift near the mean nothing cancels later.
void accumulateCovariance(const Tensor& x, const Tensor& shift, const Tensor& sum, const Tensor& products);

/// a b^T in f64: a [M, K], b [N, K] -> [M, N].
Tensor float64Product(const Tensor& a, const Tensor& b);

/// Eigenvalues [N], ascending, of a symmetric matrix [N, N] f64, and where `vectors` the eigenvectors [N, N], one a row, of length 1.
/// Both triangles are read. Householder tridiagonalisation and implicit QL. All of both is NaN where the matrix holds what is not finite, where
/// its products overflow or are all lost to rounding, and where an eigenvalue does not converge.
std::array<Tensor, 2> symmetricEigen(const Tensor& matrix, bool vectors);

/// For every point of points [M, D] the squared Euclidean distance to its k-th nearest row of x [N, D], both f32, of which the points are some:
/// a row itself counts as the 0th. -> [M].
Tensor neighbourRadii(const Tensor& points, const Tensor& x, int64_t k);

/// u8 [M]: 1 where a point of points [M, D] lies in a ball around a row of centres [N, D], all f32; squaredRadii [N].
Tensor insideBalls(const Tensor& points, const Tensor& centres, const Tensor& squaredRadii);

/// i32 [N, k]: for every row of x [N, D] f64 the k rows of the largest inner product with it, the largest first; of equal ones the
/// lower index. `includeSelf`: a row is a candidate of its own.
Tensor mostSimilar(const Tensor& x, int64_t k, bool includeSelf);

}  // namespace repa::ops
