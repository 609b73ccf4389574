import { availableParallelism } from 'node:os'
import { describe, expect, test } from 'vitest'
import { FeatureStatistics, type Gaussian } from '../../src/evaluation/feature-statistics.ts'
import { frechetDistance } from '../../src/evaluation/frechet-distance.ts'
import { InceptionScore } from '../../src/evaluation/inception-score.ts'
import { KeptFeatures } from '../../src/evaluation/kept-features.ts'
import { precisionRecall } from '../../src/evaluation/precision-recall.ts'
import {
  cknnaOfPaper,
  cknnaOfPlatonicRep,
  mutualKnn,
  normaliseRows,
  prepareRepresentation,
} from '../../src/evaluation/representation-alignment.ts'
import { random } from '../reference/array.ts'

const diagonal = (values: readonly number[]) =>
  Float64Array.from({ length: values.length ** 2 }, (_, i) =>
    i % (values.length + 1) === 0 ? values[i % values.length]! : 0,
  )

const gaussian = (mean: readonly number[], covariance: Float64Array): Gaussian => ({
  count: undefined,
  mean: Float64Array.from(mean),
  covariance,
})

describe('frechetDistance', () => {
  const rotated = (a: number, b: number, angle: number) => {
    const [c, s] = [Math.cos(angle), Math.sin(angle)]
    return Float64Array.of(a * c * c + b * s * s, (a - b) * c * s, (a - b) * c * s, a * s * s + b * c * c)
  }
  /** tr (AB)^½ of 2 × 2 matrices: √(tr AB + 2 √det AB). */
  const rootTrace = (a: Float64Array, b: Float64Array) => {
    const trace = a[0]! * b[0]! + 2 * a[1]! * b[1]! + a[3]! * b[3]!
    const det = (a[0]! * a[3]! - a[1]! ** 2) * (b[0]! * b[3]! - b[1]! ** 2)
    return Math.sqrt(trace + 2 * Math.sqrt(Math.max(0, det)))
  }
  const turned = rotated(3, 0.5, 0.7)
  const other = rotated(1, 2, -0.2)

  const cases: readonly { name: string; a: Gaussian; b: Gaussian; expected: number }[] = [
    {
      name: 'commuting covariances: Σ (√a − √b)²',
      a: gaussian([0, 0, 0], diagonal([1, 4, 9])),
      b: gaussian([1, 2, 2], diagonal([4, 4, 1])),
      expected: 9 + 1 + 0 + 4,
    },
    {
      name: 'turned against each other',
      a: gaussian([0, 0], turned),
      b: gaussian([0, 0], other),
      expected: 3.5 + 3 - 2 * rootTrace(turned, other),
    },
    {
      name: 'one that is singular',
      a: gaussian([0, 0], rotated(2, 0, 0.3)),
      b: gaussian([0, 1], other),
      expected: 1 + 2 + 3 - 2 * rootTrace(rotated(2, 0, 0.3), other),
    },
    { name: 'points', a: gaussian([1, 1], diagonal([0, 0])), b: gaussian([4, 5], diagonal([0, 0])), expected: 25 },
    { name: 'one dimension', a: gaussian([0], diagonal([4])), b: gaussian([0], diagonal([9])), expected: 1 },
  ]

  test.each(cases)('$name', async ({ a, b, expected }) => {
    // Singular: the square root makes of a rounding of 1e-16 one of 1e-8.
    expect(Math.abs((await frechetDistance(a, b)) - expected)).toBeLessThan(1e-7)
    expect(Math.abs((await frechetDistance(b, a)) - expected)).toBeLessThan(1e-7)
  })

  test.each([
    { count: 400, width: 60 },
    { count: 30, width: 64 },
  ])('of $count features of $width against themselves is 0', async ({ count, width }) => {
    using statistics = new FeatureStatistics(width)
    statistics.add(Float32Array.from(random([count, width], 1).data, (value) => 100 + 10 * value))
    const fitted = await statistics.finish()
    const variances = fitted.covariance.filter((_, i) => i % (width + 1) === 0).reduce((sum, value) => sum + value)
    // An eigenvalue is right to some width · 2^-53 of the largest, its root to that times how far apart those are that are not 0: 32 at most.
    expect(await frechetDistance(fitted, fitted)).toBeLessThan(variances * width * 2 ** -48)
  })

  test('refuses what cannot be compared', async () => {
    await expect(frechetDistance(gaussian([0], diagonal([1])), gaussian([0, 0], diagonal([1, 1])))).rejects.toThrow(
      'The one set has 1 features an image, the other 2: statistics of two different networks cannot be compared.',
    )
    await expect(frechetDistance(gaussian([Number.NaN], diagonal([1])), gaussian([0], diagonal([1])))).rejects.toThrow(
      'not a finite number',
    )
    await expect(frechetDistance(gaussian([0, 0], diagonal([1])), gaussian([0, 0], diagonal([1, 1])))).rejects.toThrow(
      'The covariance of the first set has 1 numbers; of 2 features it has 4.',
    )
  })

  test.each([
    {
      name: 'covariances',
      a: gaussian(
        [0, 0],
        turned.map((value) => 1e200 * value),
      ),
    },
    { name: 'a trace', a: gaussian([0, 0], diagonal([1e308, 1e308])) },
    { name: 'means', a: gaussian([1e200, 0], other) },
  ])('refuses $name beyond float64, and the device goes on', async ({ a }) => {
    const b = { ...a, mean: new Float64Array(2) }
    await expect(frechetDistance(a, b, ['a.npz', 'b.npz'])).rejects.toThrow(
      /^The Fréchet distance of a\.npz and b\.npz is beyond what float64 holds: /,
    )
    expect(await frechetDistance(gaussian([0], diagonal([1])), gaussian([2], diagonal([1])))).toBe(4)
  })

  // Eigenvalues are those of one half: what the other says would count for nothing.
  test('refuses a covariance of two halves', async () => {
    const [broken, whole] = [gaussian([0, 0], Float64Array.of(4, 1, 0, 4)), gaussian([0, 0], diagonal([1, 1]))]
    const message = (which: string) =>
      `The covariance of the ${which} set is not symmetric: in row 0 of column 1 it is 1, in row 1 of column 0 it is 0; the statistics`
    await expect(frechetDistance(broken, whole)).rejects.toThrow(message('first'))
    await expect(frechetDistance(whole, broken)).rejects.toThrow(message('second'))
  })

  test('takes one whose halves were rounded each for itself', async () => {
    // The deviations are 0.01 and 100.
    const [rounded, whole] = [gaussian([0, 0], Float64Array.of(1e-4, 0, 1e-4, 1e4)), gaussian([0, 0], diagonal([1, 1]))]
    expect(await frechetDistance(rounded, whole)).toBeCloseTo(99 ** 2 + 0.99 ** 2, 3)
  })

  // With a root of what is below 0 taken for 0, each of these would be as close as can be.
  test.each([
    { name: 'a variance below 0', covariance: diagonal([1, -50]) },
    { name: 'a correlation above 1', covariance: Float64Array.of(1, 2, 2, 1) },
  ])('refuses $name', async ({ covariance }) => {
    const [broken, whole] = [gaussian([0, 0], covariance), gaussian([0, 0], diagonal([1, 1]))]
    const message = (which: string) =>
      `The covariance of the ${which} set has an eigenvalue below 0, which no covariance has`
    await expect(frechetDistance(broken, whole)).rejects.toThrow(message('first'))
    await expect(frechetDistance(whole, broken)).rejects.toThrow(message('second'))
  })

  test('takes a singular covariance whose elements were rounded to float32', async () => {
    using statistics = new FeatureStatistics(64)
    statistics.add(Float32Array.from(random([30, 64], 1).data, (value) => 100 + 10 * value))
    const fitted = await statistics.finish()
    const rounded = { ...fitted, covariance: fitted.covariance.map(Math.fround) }
    // Rounding moves an eigenvalue by at most the Frobenius norm of what it moves the elements by; 29 are not 0, and the roots of the
    // others, which should be, are those of as much.
    const norm = Math.sqrt(fitted.covariance.reduce((sum, value) => sum + value ** 2, 0))
    const allowed = 64 * Math.sqrt(2 ** -24 * norm * norm)
    expect(await frechetDistance(rounded, fitted)).toBeLessThan(allowed)
    expect(await frechetDistance(fitted, rounded)).toBeLessThan(allowed)
  })
})

describe('FeatureStatistics', () => {
  test.each([
    { count: 2, width: 3, parts: 1 },
    { count: 700, width: 19, parts: 3 },
    { count: 1025, width: 33, parts: 40 },
  ])('mean and covariance of $count features of $width in $parts parts', async ({ count, width, parts }) => {
    // A mean far from 0: sums of squares alone would lose half of the digits.
    const values = Float32Array.from(random([count, width], 2).data, (value) => 1000 + value)
    using statistics = new FeatureStatistics(width)
    for (let part = 0; part < parts; part++) {
      const row = (index: number) => Math.floor((index * count) / parts) * width
      statistics.add(values.subarray(row(part), row(part + 1)))
    }
    const { mean, covariance, count: counted } = await statistics.finish()
    expect(counted).toBe(count)
    const column = (d: number) => Array.from({ length: count }, (_, n) => values[n * width + d]!)
    const means = Array.from({ length: width }, (_, d) => column(d).reduce((sum, value) => sum + value, 0) / count)
    means.forEach((expected, d) => {
      expect(Math.abs(mean[d]! - expected)).toBeLessThan(count * 2 ** -52 * 1000)
    })
    for (const [i, j] of [
      [0, 0],
      [0, width - 1],
      [width - 1, 0],
      [width - 1, width - 2],
    ] as const) {
      const [a, b] = [column(i), column(j)]
      const expected = a.reduce((sum, value, n) => sum + (value - means[i]!) * (b[n]! - means[j]!), 0) / (count - 1)
      expect(Math.abs(covariance[i * width + j]! - expected)).toBeLessThan(count * 2 ** -52 * 64)
    }
  })

  test('one feature has no covariance', async () => {
    using statistics = new FeatureStatistics(2)
    statistics.add(Float32Array.of(1, 2))
    await expect(statistics.finish()).rejects.toThrow('A covariance needs at least two images; there is 1.')
  })
})

describe('InceptionScore', () => {
  test.each([
    {
      name: 'sure and all alike',
      rows: [
        [1, 0],
        [1, 0],
      ],
      split: 5000,
      expected: 1,
    },
    {
      name: 'sure and different',
      rows: [
        [1, 0],
        [0, 1],
      ],
      split: 5000,
      expected: 2,
    },
    {
      name: 'unsure',
      rows: [
        [0.5, 0.5],
        [0.5, 0.5],
      ],
      split: 5000,
      expected: 1,
    },
    {
      name: 'the mean over splits in order',
      rows: [
        [1, 0],
        [0, 1],
        [1, 0],
      ],
      split: 2,
      expected: 1.5,
    },
    {
      name: "the ADM suite's splits of 5000 images, of which the last may be smaller",
      // Of the first the score is 2, of the last, with one image, 1.
      rows: Array.from({ length: 5001 }, (_, i) => [1 - (i % 2), i % 2]),
      split: undefined,
      expected: 1.5,
    },
  ])('$name', ({ rows, split, expected }) => {
    const score = new InceptionScore(2, split)
    for (const row of rows) score.add(row)
    expect(score.finish()).toBeCloseTo(expected, 12)
    const ofLogits = new InceptionScore(2, split)
    // A logit of −800 is a probability of 0.
    ofLogits.addLogits(Float32Array.from(rows.flat(), (p) => (p === 0 ? -800 : Math.log(p))))
    expect(ofLogits.finish()).toBeCloseTo(expected, 12)
  })
})

test.each([Number.NaN, Number.POSITIVE_INFINITY])('the Inception Score of a logit that is %d is none', (value) => {
  const score = new InceptionScore(3)
  score.addLogits(Float32Array.of(value, 1, 2, 5, 1, 1))
  expect(score.finish()).toBeNaN()
})

describe('precisionRecall', () => {
  function store(rows: readonly (readonly number[])[]): KeptFeatures {
    const features = new KeptFeatures(rows[0]!.length, rows.length, rows.length)
    features.add(Float32Array.from(rows.flat()))
    return features
  }

  test('of a set against itself, with an image that is there five times, is 1', async () => {
    const rows = Array.from({ length: 60 }, (_, i) =>
      Array.from(random([7], i < 5 ? 0 : i).data, (value) => 300 + value),
    )
    using features = store(rows)
    expect(await precisionRecall(features, features)).toMatchObject({ precision: 1, recall: 1 })
  })

  test('of two clusters of which the samples hold one: everything precise, half recalled', async () => {
    const cluster = (at: number, step: number) => Array.from({ length: 8 }, (_, i) => [at + step * i, 0])
    using reference = store([...cluster(0, 1), ...cluster(100, 1)])
    using samples = store(cluster(0.25, 1))
    expect(await precisionRecall(reference, samples)).toMatchObject({ precision: 1, recall: 0.5 })
  })

  /** So many images that they are compared in several parts. */
  const many = () => store(Array.from({ length: 500 * availableParallelism() }, (_, i) => [i % 37, i % 41]))

  test('says how far it is', async () => {
    using features = many()
    const shares: number[] = []
    await precisionRecall(features, features, { onProgress: (share) => shares.push(share) })
    expect(shares.length).toBeGreaterThan(8)
    expect(shares).toEqual([...shares].sort((a, b) => a - b))
    expect(shares.at(-1)).toBe(1)
  })

  test.each([0.1, 0.4, 0.9])('is stopped at a share of %d', async (at) => {
    using features = many()
    const stop = new AbortController()
    let last = 0
    const onProgress = (share: number) => {
      last = share
      if (share >= at) stop.abort()
    }
    await expect(precisionRecall(features, features, { signal: stop.signal, onProgress })).rejects.toThrow(
      'This operation was aborted',
    )
    expect(last).toBeLessThan(1)
  })

  test('needs more images than neighbours', async () => {
    using few = store([[0], [1], [2]])
    await expect(precisionRecall(few, few)).rejects.toThrow('need more than 3 images; there are 3')
  })
})

test('KeptFeatures, where not all fit, are evenly spread ones', async () => {
  using store = new KeptFeatures(1, 10, 4)
  for (let i = 0; i < 10; i += 5) store.add(Float32Array.from({ length: 5 }, (_, j) => i + j))
  expect(store.count).toBe(4)
  expect([...(await store.tensor.data())]).toEqual([2, 4, 7, 9])
})

describe('CKNNA', () => {
  const [count, k] = [70, 6]
  const representation = (width: number, seed: number) =>
    normaliseRows({ values: Float64Array.from(random([count, width], seed).data), count, width })

  /** The definitions, on whole matrices. */
  function bruteForce(kernels: readonly [number[][], number[][]], formula: 'paper' | 'platonic'): number {
    const neighbours = kernels.map((kernel) =>
      kernel.map(
        (row, i) =>
          new Set(
            row
              .map((_, j) => j)
              .filter((j) => j !== i)
              .sort((a, b) => row[b]! - row[a]!)
              .slice(0, k),
          ),
      ),
    )
    const centred = kernels.map((kernel) =>
      kernel.map((row) => {
        const mean = row.reduce((sum, value) => sum + value, 0) / count
        return row.map((value) => value - mean)
      }),
    )
    const align = (a: number, b: number) => {
      const isMutual = (i: number, j: number) => neighbours[a]![i]!.has(j) && neighbours[b]![i]!.has(j)
      const each = Array.from({ length: count }, (_, i) => i)
      if (formula === 'paper') {
        return each.reduce(
          (sum, i) =>
            sum + each.reduce((row, j) => row + (isMutual(i, j) ? centred[a]![i]![j]! * centred[b]![i]![j]! : 0), 0),
          0,
        )
      }
      const masked = (kernel: number) =>
        each.map((i) => each.map((j) => (isMutual(i, j) ? kernels[kernel]![i]![j]! : 0)))
      const [K, L] = [masked(a), masked(b)]
      let [trace, sumK, sumL, product] = [0, 0, 0, 0]
      for (const i of each) {
        for (const j of each) {
          trace += K[i]![j]! * L[j]![i]!
          sumK += K[i]![j]!
          sumL += L[i]![j]!
          for (const l of each) product += K[i]![j]! * L[j]![l]!
        }
      }
      return (trace + (sumK * sumL) / ((count - 1) * (count - 2)) - (2 * product) / (count - 2)) / (count * (count - 3))
    }
    const root = Math.sqrt(align(0, 0) * align(1, 1))
    return align(0, 1) / (formula === 'paper' ? root : root + 1e-6)
  }

  test('both formulas are their definitions', async () => {
    const noise = representation(9, 2)
    const a = representation(12, 1)
    // Half of what b is made of is a's, so that neighbours are shared.
    const b = normaliseRows({
      values: Float64Array.from(
        { length: count * 12 },
        (_, i) => a.values[i]! + 0.6 * noise.values[i % noise.values.length]!,
      ),
      count,
      width: 12,
    })
    const kernel = ({ values, width }: typeof a) =>
      Array.from({ length: count }, (_, i) =>
        Array.from({ length: count }, (_, j) => {
          let sum = 0
          for (let d = 0; d < width; d++) sum += values[i * width + d]! * values[j * width + d]!
          return sum
        }),
      )
    const [x, y] = [await prepareRepresentation(a, k), await prepareRepresentation(b, k)]
    const kernels = [kernel(a), kernel(b)] as const
    expect(cknnaOfPaper(x, y)).toBeCloseTo(bruteForce(kernels, 'paper'), 10)
    expect(cknnaOfPlatonicRep(x, y)).toBeCloseTo(bruteForce(kernels, 'platonic'), 10)
    expect(cknnaOfPaper(x, y)).toBeGreaterThan(0.1)
    expect(mutualKnn(x.neighbours, y.neighbours)).toBeGreaterThan(0.1)
  })

  test('with itself is 1', async () => {
    const x = await prepareRepresentation(representation(8, 3), k)
    expect(cknnaOfPaper(x, x)).toBeCloseTo(1, 12)
    expect(mutualKnn(x.neighbours, x.neighbours)).toBe(1)
  })
})
