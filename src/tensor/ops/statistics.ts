/** Statistics of features, in the CPU's queue: a caller that awaits their results leaves the event loop free. */
import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/**
 * sum [D] += Σ (x − shift) and products [D, D] += Σ (x − shift) (x − shift)ᵀ over the rows of x [N, D] f32, in f64. Of `products`
 * only what is on and below the diagonal is defined.
 */
export function accumulateCovariance(x: Tensor, into: { shift: Tensor; sum: Tensor; products: Tensor }): void {
  native().accumulateCovariance(x.handle, into.shift.handle, into.sum.handle, into.products.handle)
}

/** a bᵀ in f64: [M, K], [N, K] → [M, N]. */
export function float64Product(a: Tensor, b: Tensor): Tensor {
  return new Tensor(native().float64Product(a.handle, b.handle), a.device)
}

/**
 * Eigenvalues [N] of a symmetric matrix [N, N] f64, ascending, and its eigenvectors [N, N], one a row. All of both is NaN where they cannot
 * be found: of a matrix that is not finite, or whose products are not.
 */
export function symmetricEigen(matrix: Tensor): { values: Tensor; vectors: Tensor } {
  const [values, vectors] = native().symmetricEigen(matrix.handle, true)
  return { values: new Tensor(values, matrix.device), vectors: new Tensor(vectors!, matrix.device) }
}

/** The eigenvalues alone, at a fraction of the time. */
export function symmetricEigenvalues(matrix: Tensor): Tensor {
  return new Tensor(native().symmetricEigen(matrix.handle, false)[0], matrix.device)
}

/** For every point [M, D] the squared distance to its k-th nearest row of x [N, D] f32, of which it is one, itself being the 0th → [M]. */
export function neighbourRadii(points: Tensor, x: Tensor, k: number): Tensor {
  return new Tensor(native().neighbourRadii(points.handle, x.handle, k), x.device)
}

/** u8 [M]: 1 where a point [M, D] lies in a ball, its surface included, around a row of centres [N, D]; squaredRadii [N]. */
export function insideBalls(points: Tensor, centres: Tensor, squaredRadii: Tensor): Tensor {
  return new Tensor(native().insideBalls(points.handle, centres.handle, squaredRadii.handle), points.device)
}

/** i32 [N, k]: for every row of x [N, D] f64 the k rows of the largest inner product with it, descending; ties: the lower index. */
export function mostSimilar(x: Tensor, k: number, { includeSelf = false } = {}): Tensor {
  return new Tensor(native().mostSimilar(x.handle, k, includeSelf), x.device)
}
