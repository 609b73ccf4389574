import { describe, expect, test } from 'vitest'
import {
  type CurvePoints,
  compare,
  type Direction,
  meanCurve,
  type Reach,
  reach,
  spreadOf,
} from '../../bench/acceleration/analysis.ts'
import { formatDifference } from '../../bench/acceleration/tables.ts'

/** Points at the steps 100, 200, … */
const curve = (...values: number[]): CurvePoints => values.map((value, i) => ({ step: 100 * (i + 1), value }))

describe('when a curve reaches a value', () => {
  test.each<[what: string, values: number[], target: number, better: Direction, expected: Reach]>([
    ['between two points, in proportion', [4, 2, 1], 2.5, 'lower', { kind: 'reached', step: 175 }],
    ['exactly at a point', [4, 2, 1], 2, 'lower', { kind: 'reached', step: 200 }],
    ['only at the last', [4, 3, 1], 1, 'lower', { kind: 'reached', step: 300 }],
    ['where higher is better', [0.1, 0.3, 0.5], 0.4, 'higher', { kind: 'reached', step: 250 }],
    ['not', [4, 3, 2], 1, 'lower', { kind: 'not reached' }],
    ['not, where higher is better', [0.1, 0.2, 0.3], 0.4, 'higher', { kind: 'not reached' }],
    ['before its first point', [1, 0.5], 2, 'lower', { kind: 'before', step: 100 }],
    ['with its only point', [1], 1, 'lower', { kind: 'before', step: 100 }],
    ['again, after it was worse: the last arrival counts', [4, 1, 3, 1], 2, 'lower', { kind: 'reached', step: 350 }],
    ['from the first point, but not all along', [1, 3, 1], 2, 'lower', { kind: 'reached', step: 250 }],
    ['and loses it at the end', [4, 1, 3], 2, 'lower', { kind: 'not reached' }],
  ])('%s', (_, values, target, better, expected) => {
    expect(reach(curve(...values), target, better)).toEqual(expected)
  })

  test('a curve without points is refused', () => {
    expect(() => reach([], 1, 'lower')).toThrow('A curve without points')
  })
})

describe('what a pair of runs says', () => {
  test('half the steps are a speed-up of two', () => {
    expect(compare(curve(4, 3, 2, 1), curve(2, 1, 0.5, 0.25), 'lower')).toEqual({
      vanilla: 1,
      aligned: 0.25,
      speedUp: 2,
      reach: { kind: 'reached', step: 200 },
    })
  })

  test('no speed-up where the aligned run ends worse', () => {
    expect(compare(curve(0.2, 0.5), curve(0.1, 0.4), 'higher')).toEqual({
      vanilla: 0.5,
      aligned: 0.4,
      speedUp: undefined,
      reach: { kind: 'not reached' },
    })
  })

  test('runs of different lengths are refused', () => {
    expect(() => compare(curve(2, 1), curve(2), 'lower')).toThrow('end at the steps 200 and 100')
  })
})

describe('means and deviations', () => {
  test.each([
    [[1, 2, 3], { mean: 2, deviation: 1 }],
    [[5], { mean: 5, deviation: undefined }],
    [[2, 2], { mean: 2, deviation: 0 }],
  ])('of %j', (values, expected) => {
    expect(spreadOf(values)).toEqual(expected)
  })

  test('of curves, point by point', () => {
    expect(meanCurve([curve(1, 2), curve(3, 6)])).toEqual(curve(2, 4))
  })

  test.each([
    ['accuracy', [0.056], '+5.6 points'],
    ['accuracy', [-0.01, -0.03], '−2.0 ± 1.4 points'],
    ['distance', [-0.4938], '−0.494'],
    ['distance', [1, 3], '+2.00 ± 1.41'],
  ] as const)('of differences of %s, %j, are written %s', (measure, values, written) => {
    expect(formatDifference(measure, spreadOf(values))).toBe(written)
  })

  test('of nothing are refused', () => {
    expect(() => spreadOf([])).toThrow('no values')
  })
})
