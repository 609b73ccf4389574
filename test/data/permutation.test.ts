import { describe, expect, test } from 'vitest'
import { KeyedPermutation } from '../../src/data/permutation.ts'

function whole(length: number, seed: number, epoch: number): readonly number[] {
  const permutation = new KeyedPermutation(length, seed, epoch)
  return Array.from({ length }, (_, i) => permutation.at(i))
}

describe('KeyedPermutation', () => {
  const lengths = [...Array.from({ length: 70 }, (_, i) => i + 1), 127, 128, 129, 1000, 4095, 4096, 4097, 50_000]
  test.each(lengths)('is a bijection of %d elements', (length) => {
    expect(whole(length, 3, 1).toSorted((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i))
  })

  test('is a bijection of the 1,281,167 images of ImageNet', () => {
    const length = 1_281_167
    const permutation = new KeyedPermutation(length, 0, 0)
    const isSeen = new Uint8Array(length)
    for (let i = 0; i < length; i++) isSeen[permutation.at(i)] = 1
    expect(isSeen.every((seen) => seen === 1)).toBe(true)
  })

  test('gives every order of three elements equally often', () => {
    const trials = 6000
    const counts = new Map<string, number>()
    for (let seed = 0; seed < trials; seed++) {
      const order = whole(3, seed, 0).join()
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    const expected = trials / 6
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    expect(counts.size).toBe(6)
    // Five degrees of freedom: 20.5 is exceeded once in a thousand.
    expect(chiSquare).toBeLessThan(20.5)
  })

  // Two independent permutations share a Poisson(1) number of fixed places, and the ranks of one say nothing of the
  // other's: their correlation has the standard deviation 1/√(N − 1). Both bounds leave five of these.
  test.each<[string, [number, number], [number, number]]>([
    ['epochs', [7, 0], [7, 1]],
    ['seeds', [7, 0], [8, 0]],
    ['seeds that differ above 2^32', [7, 0], [7 + 2 ** 32, 0]],
    ['seed and epoch exchanged', [1, 2], [2, 1]],
  ])('is uncorrelated between %s, and with the natural order', (_, one, other) => {
    const length = 10_000
    const a = whole(length, ...one)
    const b = whole(length, ...other)
    const natural = Array.from({ length }, (_, i) => i)
    for (const [x, y] of [
      [a, b],
      [a, natural],
      [a, [...a.slice(1), a[0]!]],
    ] as const) {
      expect(x.filter((value, i) => value === y[i]).length).toBeLessThan(12)
      expect(Math.abs(correlation(x, y))).toBeLessThan(5 / Math.sqrt(length - 1))
    }
  })

  test.each([
    [0, 0, 0, 'A permutation of 0 elements; 1 to 2^30 are possible.'],
    [2 ** 30 + 1, 0, 0, '1 to 2^30'],
    [5, -1, 0, 'The seed -1 of a permutation'],
    [5, 0, 0.5, 'The epoch 0.5 of a permutation'],
  ])('refuses length %d, seed %d, epoch %d', (length, seed, epoch, message) => {
    expect(() => new KeyedPermutation(length, seed, epoch)).toThrow(message)
  })

  test.each([-1, 5, 1.5])('refuses position %d of 5', (position) => {
    expect(() => new KeyedPermutation(5, 0, 0).at(position)).toThrow(`Position ${position}`)
  })
})

/** Pearson's correlation of two permutations of the same elements. */
function correlation(x: readonly number[], y: readonly number[]): number {
  const mean = (x.length - 1) / 2
  let covariance = 0
  let variance = 0
  for (let i = 0; i < x.length; i++) {
    covariance += (x[i]! - mean) * (y[i]! - mean)
    variance += (x[i]! - mean) ** 2
  }
  return covariance / variance
}
