import { describe, expect, test } from 'vitest'
import { compare, expectClose, fromValues, random } from './array.ts'

describe('random', () => {
  const values = random([1000], 3, 0.5)

  test('depends on the seed and the element alone', () => {
    expect(random([10, 200], 3, 0.5).data.subarray(0, 1000)).toEqual(values.data)
    expect(random([1000], 4, 0.5).data).not.toEqual(values.data)
  })

  test('is exact in float32 and within its scale', () => {
    for (const value of values.data) {
      expect(Math.fround(value)).toBe(value)
      expect(Math.abs(value)).toBeLessThanOrEqual(0.5)
    }
  })
})

describe('comparison', () => {
  const expected = fromValues([2, 3], [1, 2, 3, 4, 5, 100])

  test('names the element that is worst against its tolerance, not the largest error', () => {
    const actual = fromValues([2, 3], [1, 2, 3, 4.5, 5, 101])
    const result = compare(actual, expected, { atol: 0, rtol: 0.02 })
    expect(result).toMatchObject({ close: false, index: [1, 0], actual: 4.5, expected: 4, maxAbsoluteError: 1 })
    expect(() => expectClose('y', actual, expected, { atol: 0, rtol: 0.02 })).toThrow('y[1,0] is 4.5, expected 4')
  })

  test('takes what is within', () => {
    const actual = fromValues([2, 3], [1, 2, 3, 4.5, 5, 101])
    expect(compare(actual, expected, { atol: 0.5, rtol: 0.01 }).close).toBe(true)
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('never takes %d', (value) => {
    const actual = fromValues([2, 3], [1, value, 3, 4, 5, 100])
    expect(compare(actual, expected, { atol: 1e9, rtol: 1 })).toMatchObject({ close: false, index: [0, 1] })
    expect(compare(expected, actual, { atol: 1, rtol: 1 })).toMatchObject({ close: false, index: [0, 1] })
  })

  test('refuses other shapes', () => {
    const other = fromValues([3, 2], [1, 2, 3, 4, 5, 100])
    expect(() => compare(other, expected, { atol: 1, rtol: 1 })).toThrow('[3,2] and [2,3] differ')
  })
})
