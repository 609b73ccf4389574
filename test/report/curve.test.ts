import { describe, expect, test } from 'vitest'
import { linearAxis, logAxis, positionOn, stepAxis } from '../../src/report/axis.ts'
import {
  curveOf,
  extremes,
  finitePoints,
  firstAtLeast,
  localLinearFit,
  median,
  nearest,
  pointsWithin,
  valueAt,
} from '../../src/report/curve.ts'

const range = (count: number, f: (i: number) => number) => Float64Array.from({ length: count }, (_, i) => f(i))

describe('extremes', () => {
  test.each([0, 1, 2, 7, 20])('%i points in 10 slices stay as they are', (count) => {
    const points = { x: range(count, (i) => i), y: range(count, (i) => -i) }
    expect(extremes(points, 10)).toBe(points)
  })

  test('keeps the lowest and highest of each slice, in order', () => {
    const x = range(40, (i) => i)
    const y = range(40, (i) => (i === 3 ? 9 : i === 7 ? -9 : 0))
    const { x: xs, y: ys } = extremes({ x, y }, 2)
    expect(Array.from(xs, (value, i) => [value, ys[i]]).slice(0, 2)).toEqual([
      [3, 9],
      [7, -9],
    ])
    expect(xs.every((value, i) => i === 0 || value > xs[i - 1]!)).toBe(true)
  })

  test('uneven x: empty slices are left out, no point is lost', () => {
    const x = Float64Array.of(0, 1, 2, 3, 4, 1000)
    expect([...extremes({ x, y: range(6, (i) => i) }, 2).x]).toEqual([0, 4, 1000])
  })
})

describe('localLinearFit', () => {
  test('a straight line is its own fit, ends included', () => {
    const points = { x: range(100, (i) => i * 10), y: range(100, (i) => 3 - 0.02 * i) }
    const { y } = localLinearFit(points, 0.02)
    // Sums of some dozens of products of order 1, each rounded to 2^-53.
    for (let i = 0; i < 100; i++) expect(Math.abs(y[i]! - points.y[i]!)).toBeLessThan(1e-12)
  })

  test('noise shrinks, the trend stays', () => {
    const truth = (i: number) => 1 + Math.exp(-i / 200)
    // The golden ratio's multiples: evenly spread over (−0.5, 0.5), so their variance is 1/12.
    const noise = (i: number) => ((i * 0.618033988749895) % 1) - 0.5
    const { smooth } = curveOf({
      x: range(2000, (i) => i),
      y: range(2000, (i) => truth(i) + 0.2 * noise(i)),
    })
    const worst = Math.max(...Array.from(smooth.y, (value, i) => Math.abs(value - truth(smooth.x[i]!))))
    expect(worst).toBeLessThan(0.2 / Math.sqrt(12))
  })

  test('the trend of a long run goes from its first step to its last', () => {
    const x = range(10_000, (i) => 7 + i)
    const { smooth } = curveOf({ x, y: range(10_000, (i) => 3 - 0.02 * i) })
    expect([smooth.x[0], smooth.x.at(-1)]).toEqual([7, 10_006])
    // A straight line's slices have means on it, so that their fit is the line. Values reach 200, sums of dozens of products the more.
    for (const [i, at] of smooth.x.entries()) expect(Math.abs(smooth.y[i]! - (3 - 0.02 * (at - 7)))).toBeLessThan(1e-9)
  })

  test.each([
    ['one point', [5], [1]],
    ['one place', [5, 5], [1, 2]],
  ])('%s', (_, x, y) => {
    expect([...localLinearFit({ x: Float64Array.from(x), y: Float64Array.from(y) }, 0.1).y]).toEqual(y)
  })
})

test('what is not finite is left out', () => {
  const { x, y } = finitePoints(
    Float64Array.of(1, 2, 3, 4),
    Float64Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, 4),
  )
  expect([[...x], [...y]]).toEqual([
    [1, 4],
    [1, 4],
  ])
})

test.each([
  [0, 1, [1, 2]],
  [1, 2, [1, 2, 4]],
  [3, 3.5, [2, 4]],
  [2, 4, [1, 2, 4, 8]],
  [9, 10, [8]],
])('points within %d and %d, and one on either side', (low, high, expected) => {
  const x = Float64Array.of(1, 2, 4, 8)
  expect([...pointsWithin({ x, y: x }, low, high).x]).toEqual(expected)
})

test.each([
  [0, 0, 0],
  [1, 0, 0],
  [2.9, 2, 1],
  [3.1, 2, 2],
  [4, 2, 2],
  [9, 4, 3],
])('%d among 1, 2, 4, 8: first at least it, nearest to it', (value, first, near) => {
  const sorted = Float64Array.of(1, 2, 4, 8)
  expect([firstAtLeast(sorted, value), nearest(sorted, value)]).toEqual([first, near])
})

test('a schedule keeps its corners', () => {
  const y = range(5000, (i) => Math.min(1, i / 1000))
  const { smooth } = curveOf({ x: range(5000, (i) => i), y }, 'exact')
  for (let i = 0; i < smooth.x.length; i++) expect(smooth.y[i]).toBe(y[smooth.x[i]!])
})

test.each([
  [[], Number.NaN],
  [[3], 3],
  [[3, 1, 2], 2],
  [[Number.NaN, 10, 9, 100], 10],
])('median(%j) = %d', (values, expected) => {
  expect(median(Float64Array.from(values))).toBe(expected)
})

describe('axes', () => {
  const labels = ({ ticks }: { ticks: readonly { label: string }[] }) => ticks.map(({ label }) => label).join(' ')

  test.each([
    [0, 1, '0 0.2 0.4 0.6 0.8 1.0'],
    [0.23, 0.33, '0.24 0.26 0.28 0.30 0.32'],
    [-0.65, 0.01, '-0.6 -0.4 -0.2 0'],
    [0, 1250, '0 500 1,000'],
    [0, 1e-4, '0 2e-5 4e-5 6e-5 8e-5 1e-4'],
    [0, 120_000, '0 50K 100K'],
    [7, 7, '4 6 8 10'],
    [0, 0, '-1.0 -0.5 0 0.5 1.0'],
    // One evaluation, its images in two orders.
    [7, 7 + 2 ** -50, '4 6 8 10'],
    [0, 5e-324, '-1.0 -0.5 0 0.5 1.0'],
    [-5000, 5000, '-4,000 -2,000 0 2,000 4,000'],
  ])('linear from %d to %d: %s', (low, high, expected) => {
    expect(labels(linearAxis(low, high, 5))).toBe(expected)
  })

  test.each([
    [0, 400_000, '0 100K 200K 300K 400K'],
    [0, 3_000_000, '0 1M 2M 3M'],
    [1, 5, '1 2 3 4 5'],
    [1, 1, '0 1 2'],
    [0, 9000, '0 2,000 4,000 6,000 8,000'],
    [0, 20_000, '0 5K 10K 15K 20K'],
  ])('steps from %d to %d: %s', (low, high, expected) => {
    expect(labels(stepAxis(low, high, 5))).toBe(expected)
  })

  test.each([
    [0.1, 10, '0.1 0.2 0.5 1 2 5 10'],
    [0.3, 0.4, '0.30 0.32 0.34 0.36 0.38 0.40'],
    [1e-8, 1, '1e-8 1e-6 1e-4 0.01 1'],
    [5, 5, '4 6 8 10'],
    [5, 5 + 2 ** -50, '4 6 8 10'],
  ])('logarithmic from %d to %d: %s', (low, high, expected) => {
    expect(labels(logAxis(low, high, 5))).toBe(expected)
  })

  test('positions', () => {
    expect(positionOn(linearAxis(10, 20, 5), 15)).toBe(0.5)
    expect(positionOn(logAxis(1, 100, 5), 10)).toBeCloseTo(0.5, 15)
  })
})

test.each([
  [0, 10],
  [1, 10],
  [2, 15],
  [3, 20],
  [4, 0],
  [9, 0],
])('the line at %f is at %f', (at, value) => {
  expect(valueAt({ x: Float64Array.of(1, 3, 4), y: Float64Array.of(10, 20, 0) }, at)).toBe(value)
})
