import { describe, expect, test } from 'vitest'
import {
  accumulateCovariance,
  float64Product,
  insideBalls,
  mostSimilar,
  neighbourRadii,
  symmetricEigen,
  symmetricEigenvalues,
} from '../../../src/tensor/ops/statistics.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { random } from '../../reference/array.ts'

const EPSILON = 2 ** -52

/** Sizes that no block, panel or register tile divides, and those that they do. */
const SIZES = [1, 2, 3, 5, 31, 32, 33, 64, 97, 130, 257] as const

const f64 = (shape: readonly number[], seed: number): Float64Array => Float64Array.from(random(shape, seed).data)
const upload = (values: Float64Array, shape: readonly number[]) => Tensor.from(values, shape, 'cpu')

/** a bᵀ. */
function product(a: Float64Array, b: Float64Array, width: number): Float64Array {
  const [rows, columns] = [a.length / width, b.length / width]
  const out = new Float64Array(rows * columns)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      for (let k = 0; k < width; k++) out[i * columns + j]! += a[i * width + k]! * b[j * width + k]!
    }
  }
  return out
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!)
    if (!(difference <= largest)) largest = difference
  }
  return largest
}

describe('float64Product', () => {
  test.each([
    [1, 1, 1],
    [7, 5, 3],
    [97, 129, 257],
    [6, 16, 256],
    [200, 3, 600],
    [3, 2, 0],
    [0, 4, 5],
  ])('[%i, K] and [%i, K] of K = %i', async (rows, columns, width) => {
    const [a, b] = [f64([rows, width], 1), f64([columns, width], 2)]
    using x = upload(a, [rows, width])
    using y = upload(b, [columns, width])
    using out = float64Product(x, y)
    expect(out.shape).toEqual([rows, columns])
    const expected = width === 0 ? new Float64Array(rows * columns) : product(a, b, width)
    // Sums of `width` products of numbers of size 1, rounded in either order.
    expect(largestDifference(await out.dataAs('f64'), expected)).toBeLessThanOrEqual(16 * (width + 1) * EPSILON * 4)
  })
})

describe('accumulateCovariance', () => {
  test.each([
    [1, 1],
    [3, 17],
    [300, 33],
    [130, 257],
  ])('of %i rows of %i, in two parts', async (count, width) => {
    const values = Float32Array.from(random([count, width], 3).data)
    const shift = f64([width], 4)
    const first = Math.floor(count / 3)
    using shifts = upload(shift, [width])
    using sum = upload(new Float64Array(width), [width])
    using products = upload(new Float64Array(width * width), [width, width])
    for (const [begin, end] of [
      [0, first],
      [first, count],
    ] as const) {
      using x = Tensor.from(values.subarray(begin * width, end * width), [end - begin, width], 'cpu')
      accumulateCovariance(x, { shift: shifts, sum, products })
    }
    const centred = new Float64Array(width * count)
    const sums = new Float64Array(width)
    for (let n = 0; n < count; n++) {
      for (let d = 0; d < width; d++) {
        centred[d * count + n] = values[n * width + d]! - shift[d]!
        sums[d]! += centred[d * count + n]!
      }
    }
    const bound = 64 * count * EPSILON * 4
    expect(largestDifference(await sum.dataAs('f64'), sums)).toBeLessThanOrEqual(bound)
    const lower = (matrix: Float64Array) => matrix.filter((_, i) => i % width <= Math.floor(i / width))
    const expected = product(centred, centred, count)
    expect(largestDifference(lower(await products.dataAs('f64')), lower(expected))).toBeLessThanOrEqual(bound)
  })
})

describe('symmetricEigen', () => {
  /** Of every size a matrix of full rank, one of a few directions, which leaves a block of rounding errors, and extreme scales. */
  const cases = SIZES.flatMap((n) =>
    [
      { n, rank: n, scale: 1 },
      { n, rank: Math.ceil(n / 9), scale: 1 },
      { n, rank: Math.min(n, 2), scale: 1e-150 },
      { n, rank: n, scale: 1e120 },
    ].map((entry) => ({ ...entry, name: `${n} x ${n} of rank ${entry.rank}, times ${entry.scale}` })),
  )

  test.each(cases)('$name', async ({ n, rank, scale }) => {
    const factor = f64([n, rank], n + rank)
    const matrix = product(factor, factor, rank).map((value) => value * scale)
    using a = upload(matrix, [n, n])
    const { values, vectors } = symmetricEigen(a)
    using eigenvalues = values
    using eigenvectors = vectors
    using alone = symmetricEigenvalues(a)
    const w = await eigenvalues.dataAs('f64')
    const v = await eigenvectors.dataAs('f64')
    const norm = Math.max(...w.map(Math.abs))
    // Backward error of the reduction and of the iteration: some n roundings of the largest eigenvalue.
    const bound = 8 * n * EPSILON
    expect(largestDifference(await alone.dataAs('f64'), w) / norm).toBeLessThanOrEqual(bound)
    for (let i = 1; i < n; i++) expect(w[i]!).toBeGreaterThanOrEqual(w[i - 1]!)
    const residual = product(v, matrix, n).map((value, i) => (value - w[Math.floor(i / n)]! * v[i]!) / norm)
    expect(largestDifference(residual, new Float64Array(n * n))).toBeLessThanOrEqual(bound)
    const identity = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
    expect(largestDifference(product(v, v, n), identity)).toBeLessThanOrEqual(bound)
    expect(w.filter((value) => value > norm * 2 ** -40)).toHaveLength(rank)
  })

  test('of what is known: the second difference has eigenvalues 2 − 2 cos(πk / (n + 1))', async () => {
    const n = 75
    const matrix = Float64Array.from({ length: n * n }, (_, i) => {
      const distance = Math.abs((i % n) - Math.floor(i / n))
      return distance === 0 ? 2 : distance === 1 ? -1 : 0
    })
    using a = upload(matrix, [n, n])
    using values = symmetricEigenvalues(a)
    const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)))
    expect(largestDifference(await values.dataAs('f64'), expected)).toBeLessThanOrEqual(4 * 8 * n * EPSILON)
  })

  test('of zeros, and of none', async () => {
    using zeros = upload(new Float64Array(9), [3, 3])
    using values = symmetricEigenvalues(zeros)
    expect([...(await values.dataAs('f64'))]).toEqual([0, 0, 0])
    using nothing = upload(new Float64Array(0), [0, 0])
    using none = symmetricEigenvalues(nothing)
    expect(none.shape).toEqual([0])
  })

  // Beside the diagonal, too, where the iteration itself sees no difference from 0.
  test.each([
    ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].flatMap((value) =>
      [0, 1, 37].flatMap((row) => [row, 38].map((column) => ({ value, row, column }))),
    ),
    { value: 1.7e308, row: 'all', column: 'all' },
  ])('is NaN throughout of a matrix with $value in row $row, column $column', async ({ value, row, column }) => {
    const n = 39
    const factor = f64([n, n], 1)
    const matrix = product(factor, factor, n)
    if (row === 'all') matrix.fill(value)
    else matrix[Number(row) * n + Number(column)] = matrix[Number(column) * n + Number(row)] = value
    using a = upload(matrix, [n, n])
    const { values, vectors } = symmetricEigen(a)
    using alone = symmetricEigenvalues(a)
    for (const result of [values, vectors, alone]) {
      expect(new Set(await result.dataAs('f64'))).toEqual(new Set([Number.NaN]))
      result.dispose()
    }
  })
})

describe('neighbours', () => {
  const sets = [
    { count: 5, width: 1, k: 4 },
    { count: 97, width: 3, k: 3 },
    { count: 200, width: 300, k: 3 },
    { count: 130, width: 33, k: 0 },
  ]

  function distances(a: Float32Array, b: Float32Array, width: number): number[][] {
    return Array.from({ length: a.length / width }, (_, i) =>
      Array.from({ length: b.length / width }, (_, j) => {
        let sum = 0
        for (let d = 0; d < width; d++) sum += (a[i * width + d]! - b[j * width + d]!) ** 2
        return sum
      }),
    )
  }

  test.each(sets)('radii of $count rows of $width to neighbour $k', async ({ count, width, k }) => {
    const values = Float32Array.from(random([count, width], 5).data)
    // Some rows are there twice: their nearest neighbour is at distance 0 exactly.
    values.copyWithin(0, width, 2 * width)
    using x = Tensor.from(values, [count, width], 'cpu')
    using radii = neighbourRadii(x, x, k)
    const actual = await radii.data()
    // Rows on their own have the same bits.
    using part = x.slice(Math.floor(count / 3), count)
    using ofPart = neighbourRadii(part, x, k)
    expect(await ofPart.data()).toEqual(actual.subarray(Math.floor(count / 3)))
    const expected = distances(values, values, width).map((row) => row.sort((a, b) => a - b)[k]!)
    expected.forEach((exact, i) => {
      expect(Math.abs(actual[i]! - exact)).toBeLessThanOrEqual((width + 2) * 2 ** -23 * exact)
    })
  })

  test.each([
    { points: 1, balls: 1, width: 2 },
    { points: 100, balls: 131, width: 5 },
    { points: 211, balls: 97, width: 260 },
  ])('$points points in $balls balls of $width dimensions', async ({ points, balls, width }) => {
    const a = Float32Array.from(random([points, width], 6).data)
    const b = Float32Array.from(random([balls, width], 7).data)
    a.set(b.subarray(0, width))
    const squared = distances(a, b, width)
    // Between two distances, so that rounding decides nothing; the first ball has radius 0 and holds the first point alone.
    const sorted = squared.flat().sort((x, y) => x - y)
    const at = Math.floor(sorted.length / (3 * balls))
    const radius = ((sorted[at] ?? 0) + (sorted[at + 1] ?? 1)) / 2
    const radii = new Float32Array(balls).fill(radius)
    radii[0] = 0
    using p = Tensor.from(a, [points, width], 'cpu')
    using c = Tensor.from(b, [balls, width], 'cpu')
    using r = Tensor.from(radii, [balls], 'cpu')
    using inside = insideBalls(p, c, r)
    const expected = squared.map((row) => Number(row.some((distance, j) => distance <= radii[j]!)))
    expect([...(await inside.dataAs('u8'))]).toEqual(expected)
    expect(expected[0]).toBe(1)
  })

  test.each([
    { count: 4, width: 2, k: 3, includeSelf: false },
    { count: 4, width: 2, k: 4, includeSelf: true },
    { count: 150, width: 40, k: 10, includeSelf: false },
    { count: 260, width: 3, k: 5, includeSelf: true },
  ])('the $k most similar of $count rows, itself included: $includeSelf', async ({ count, width, k, includeSelf }) => {
    // Whole numbers: inner products are exact, and many are equal.
    const values = Float64Array.from(random([count, width], 8).data, (value) => Math.round(3 * value))
    using x = upload(values, [count, width])
    using indices = mostSimilar(x, k, { includeSelf })
    const similarity = product(values, values, width)
    const expected = Array.from({ length: count }, (_, i) =>
      Array.from({ length: count }, (_, j) => j)
        .filter((j) => includeSelf || j !== i)
        .sort((a, b) => similarity[i * count + b]! - similarity[i * count + a]! || a - b)
        .slice(0, k),
    )
    expect([...(await indices.dataAs('i32'))]).toEqual(expected.flat())
  })
})

describe('refusals', () => {
  test.each([
    [
      () => neighbourRadii(Tensor.empty([2, 2], 'cpu'), Tensor.empty([3, 2], 'cpu'), 3),
      'neighbourRadii: k is 3; expected 0 to 2, one less than the rows.',
    ],
    [
      () => neighbourRadii(Tensor.empty([3, 4], 'cpu'), Tensor.empty([3, 2], 'cpu'), 1),
      'neighbourRadii: x has shape [3, 2]; expected [3, 4].',
    ],
    [
      () => mostSimilar(Tensor.empty([3, 2], 'cpu', 'f64'), 3),
      'mostSimilar: k is 3; expected 1 to 2, the candidates of a row.',
    ],
    [
      () => symmetricEigenvalues(Tensor.empty([3, 2], 'cpu', 'f64')),
      'symmetricEigen: matrix has shape [3, 2]; expected [3, 3].',
    ],
    [
      () => float64Product(Tensor.empty([3, 2], 'cpu', 'f64'), Tensor.empty([3, 4], 'cpu', 'f64')),
      'float64Product: b has shape [3, 4]; expected [3, 2].',
    ],
  ])('%#', (call, message) => {
    expect(call).toThrow(message)
  })
})
