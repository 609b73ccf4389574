import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { float64Product, symmetricEigen, symmetricEigenvalues } from '../tensor/ops/statistics.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Gaussian } from './feature-statistics.ts'

/** Eigenvalues below this share of the largest are rounding: the directions that too few images leave empty. */
const RELATIVE_RANK = 2 ** -44

/** A covariance that other programs stored, or summed, in float32 has eigenvalues so far below 0 for each feature, of the largest. */
const FLOAT32_ROUNDING = 2 ** -24

/**
 * How far the halves of a covariance may be apart, of the two features' deviations: far more than sums in float32 over 50,000 images round
 * (√50,000 · 2⁻²⁴), far less than two halves of different sets.
 */
const ASYMMETRY = 1e-3

const numbers = () => z.custom((value) => value instanceof Float64Array, 'expected a Float64Array')

// Loose: what else is known of a set is nothing to its distance.
const gaussianSchema = whenNeeded(() => z.looseObject({ mean: numbers(), covariance: numbers() }))

/**
 * The Fréchet distance of two Gaussians, |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½ (Heusel et al., arXiv 1706.08500), in float64.
 *
 * With Σ₁ = VᵀDV, the eigenvectors being V's rows, the last trace is the sum of the square roots of the eigenvalues of
 * D^½VΣ₂VᵀD^½: symmetric, so that there is no complex root and nothing to add to the diagonal where a covariance is singular.
 *
 * @param names what an error calls the two
 * @throws {ConfigurationError} for what is no Gaussian; {RangeError} where the widths differ, a number is not finite or too large, or a covariance is none
 */
export async function frechetDistance(
  a: Gaussian,
  b: Gaussian,
  names: readonly [string, string] = ['the first set', 'the second set'],
): Promise<number> {
  parseConfiguration(gaussianSchema(), a, names[0])
  parseConfiguration(gaussianSchema(), b, names[1])
  const width = a.mean.length
  if (b.mean.length !== width) {
    throw new RangeError(
      `The one set has ${width} features an image, the other ${b.mean.length}: statistics of two different networks cannot be compared.`,
    )
  }
  for (const [i, { covariance }] of [a, b].entries()) {
    if (covariance.length === width * width) continue
    throw new RangeError(
      `The covariance of ${names[i]} has ${covariance.length} numbers; of ${width} features it has ${width * width}.`,
    )
  }
  for (const { mean, covariance } of [a, b]) {
    if (!isFinite64(mean) || !isFinite64(covariance)) {
      throw new RangeError('A mean or covariance holds what is not a finite number; there is no Fréchet distance.')
    }
  }
  for (const [i, { covariance }] of [a, b].entries()) requireSymmetric(covariance, width, names[i]!)
  let distance = trace(a.covariance, width) + trace(b.covariance, width) - 2 * (await rootTrace(a, b, names))
  for (let i = 0; i < width; i++) distance += (a.mean[i]! - b.mean[i]!) ** 2
  if (!Number.isFinite(distance)) {
    throw new RangeError(
      `The Fréchet distance of ${names[0]} and ${names[1]} is beyond what float64 holds: their means or covariances have numbers that no features have. The statistics are damaged or not those of images; make them again.`,
    )
  }
  // Of equal Gaussians rounding leaves as often a little less than 0 as a little more.
  return Math.max(0, distance)
}

/** tr (Σ₁Σ₂)^½; NaN where eigenvalues cannot be found. */
async function rootTrace(a: Gaussian, b: Gaussian, names: readonly [string, string]): Promise<number> {
  const width = a.mean.length
  using first = Tensor.from(a.covariance, [width, width], 'cpu')
  const { values, vectors } = symmetricEigen(first)
  using allVectors = vectors
  using allValues = values
  const eigenvalues = await allValues.dataAs('f64')
  if (!isFinite64(eigenvalues)) return Number.NaN
  const largest = eigenvalues.at(-1) ?? 0
  const rounding = width * FLOAT32_ROUNDING * Math.max(0, largest)
  requireNotNegative(eigenvalues, rounding, names[0])
  const empty = eigenvalues.findIndex((value) => value > largest * RELATIVE_RANK)
  if (!(largest > 0) || empty < 0) return 0
  const rank = width - empty
  const roots = eigenvalues.subarray(empty).map(Math.sqrt)
  using axes = allVectors.slice(empty, width)
  using second = Tensor.from(b.covariance, [width, width], 'cpu')
  using half = float64Product(axes, second)
  using turned = float64Product(half, axes)
  const product = await turned.dataAs('f64')
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      const mean = (product[i * rank + j]! + product[j * rank + i]!) / 2
      const value = roots[i]! * mean * roots[j]!
      product[i * rank + j] = value
      product[j * rank + i] = value
    }
  }
  using symmetric = Tensor.from(product, [rank, rank], 'cpu')
  using squares = symmetricEigenvalues(symmetric)
  const products = await squares.dataAs('f64')
  requireNotNegative(products, rounding * norm(b.covariance), names[1])
  // What should be 0 comes out a little below as often as above.
  return products.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0)
}

/** Eigenvalues are those of one half of a matrix: of another half nothing would be seen. */
function requireSymmetric(matrix: Float64Array, width: number, name: string): void {
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [matrix[i * width + j]!, matrix[j * width + i]!]
      if (below === above) continue
      const deviations = Math.sqrt(Math.abs(matrix[i * width + i]! * matrix[j * width + j]!))
      if (Math.abs(below - above) <= ASYMMETRY * deviations) continue
      throw new RangeError(
        `The covariance of ${name} is not symmetric: in row ${j} of column ${i} it is ${above}, in row ${i} of column ${j} it is ` +
          `${below}; the statistics are damaged or not those of images; make them again.`,
      )
    }
  }
}

/** A root of what is below 0 would be left out of the trace: of a damaged covariance the distance can come out as 0. */
function requireNotNegative(ascending: Float64Array, rounding: number, name: string): void {
  if (!(ascending[0]! < -rounding)) return
  throw new RangeError(
    `The covariance of ${name} has an eigenvalue below 0, which no covariance has: the statistics are damaged or not those of images; make them again.`,
  )
}

/** Frobenius's, which no eigenvalue exceeds. */
function norm(matrix: Float64Array): number {
  return Math.sqrt(matrix.reduce((sum, value) => sum + value * value, 0))
}

function trace(matrix: Float64Array, width: number): number {
  let sum = 0
  for (let i = 0; i < width; i++) sum += matrix[i * width + i]!
  return sum
}

function isFinite64(values: Float64Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false
  return true
}
