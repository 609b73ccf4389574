import { expectClose, map, type NdArray } from '../reference/array.ts'

/** Unit roundoff of float32. */
const U = 2 ** -24

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
 */
export interface Rounding {
  readonly roundings: number
  readonly scale: number
}

const LAMBDA = 8

/** A bound beyond this share of the largest expected value would prove nothing. */
const MEANINGFUL = 0.01

/** Throws, naming the worst element, unless `actual` is within the bound; also where the bound itself is too weak to tell. */
export function expectRounded(name: string, actual: NdArray, expected: NdArray, { roundings, scale }: Rounding): void {
  const atol = Math.min(roundings, LAMBDA * Math.sqrt(roundings)) * U * scale
  const largest = largestOf(expected)
  if (largest > 0 && atol > MEANINGFUL * largest) {
    throw new Error(`${name}: the bound ${atol} says nothing of values up to ${largest}.`)
  }
  expectClose(name, actual, expected, { atol, rtol: 0 })
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
