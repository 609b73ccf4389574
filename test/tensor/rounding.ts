import type { ComputeDType } from '../../src/tensor/dtype.ts'
import { expectClose, map, type NdArray } from '../reference/array.ts'

/** Unit roundoffs. */
const U = { f32: 2 ** -24, bf16: 2 ** -8, f16: 2 ** -11 } as const

/**
 * How far a float32 kernel may be from the exact result: an element that is a sum of terms, each reached through no more
 * than `roundings` roundings, of which the terms' magnitude is `scale`.
 *
 * The certain bound is γ = roundings · u times the sum of the terms' magnitudes (Higham, Accuracy and Stability of
 * Numerical Algorithms, section 3.1). Rounding errors are of either sign, so that the bound grows with the square root of
 * their number, and for terms of either sign with their Euclidean norm (Higham and Mary 2020, "Sharper probabilistic
 * backward error analysis for basic linear algebra kernels with random data"): it is λ · √roundings · u · scale with
 * `scale` = √Σ term², and fails with a probability of at most 2 exp(−λ²/2) an element. λ = 8 makes that 2.5e-14. All inputs
 * of the tables are random numbers of mean zero, to which this applies.
 *
 * Where a model computes in bf16 or f16, sums and statistics are float32 still. Its result may be off by two roundings to that
 * dtype: twice the error of the plain computation, the exact result rounded once. What is rounded to it on the way (attention's
 * probabilities, say) counts as `computeRoundings` for each term, by the same law.
 */
export interface Rounding {
  readonly roundings: number
  readonly scale: number
  /** Roundings of a term to the dtype of computation before it is summed; default 0. */
  readonly computeRoundings?: number
}

export const LAMBDA = 8

/** A bound beyond this share of the largest expected value would prove nothing. */
const MEANINGFUL = { f32: 0.01, bf16: 0.2, f16: 0.05 } as const

/** Throws, naming the worst element, unless `actual` is within the bound; also where the bound itself is too weak to tell. */
export function expectRounded(
  name: string,
  actual: NdArray,
  expected: NdArray,
  { roundings, scale, computeRoundings = 0 }: Rounding,
  compute: ComputeDType = 'f32',
  result: ComputeDType = 'f32',
): void {
  const low = compute === 'f32' ? 0 : computeRoundings
  const atol = (growth(roundings) * U.f32 + growth(low) * U[compute]) * scale
  const largest = largestOf(expected)
  if (largest > 0 && atol > MEANINGFUL[compute] * largest) {
    throw new Error(`${name}: the bound ${atol} says nothing of values up to ${largest}.`)
  }
  expectClose(name, actual, expected, { atol, rtol: result === 'f32' ? 0 : 2 * U[result] })
}

function growth(roundings: number): number {
  return Math.min(roundings, LAMBDA * Math.sqrt(roundings))
}

export function largestOf(a: NdArray): number {
  return a.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
}

/** The elements' squares: a bilinear reference applied to squares gives the squared norm of its terms. */
export function squares(a: NdArray): NdArray {
  return map(a, (value) => value * value)
}

/** √ of the largest element of a sum of squares. */
export function largestNorm(sumOfSquares: NdArray): number {
  return Math.sqrt(largestOf(sumOfSquares))
}
