import { expect, test } from 'vitest'
import { formatBytes, formatCount, formatDuration, formatSignificant } from '../../src/report/quantity.ts'

test.each([
  [0, '0'],
  [999, '999'],
  [1000, '1,000'],
  [1234567, '1,234,567'],
  [1234.5, '1,234.5'],
  [-1234, '-1,234'],
])('formatCount(%d) = %s', (count, expected) => expect(formatCount(count)).toBe(expected))

test.each([
  [0, 3, '0'],
  [0.0001, 3, '1e-4'],
  [0.000123456, 3, '1.23e-4'],
  [0.8124, 4, '0.8124'],
  [0.81, 4, '0.8100'],
  [1234.5, 3, '1,235'],
  [12.345, 3, '12.3'],
  [-0.6202, 4, '-0.6202'],
  [9.999, 3, '10.0'],
  [1e12, 2, '1e12'],
])('formatSignificant(%d, %i) = %s', (value, digits, expected) => {
  expect(formatSignificant(value, digits)).toBe(expected)
})

test.each([
  [0, '0 ms'],
  [0.85, '850 ms'],
  [0.9999, '1.0 s'],
  [12.34, '12.3 s'],
  [59.97, '1 min 00 s'],
  [185, '3 min 05 s'],
  [3599.7, '1 h 00 min'],
  [7620, '2 h 07 min'],
  [86_399, '1 d 00 h'],
  [356_400, '4 d 03 h'],
  [Number.POSITIVE_INFINITY, '–'],
])('formatDuration(%d) = %s', (seconds, expected) => expect(formatDuration(seconds)).toBe(expected))

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1_258_291, '1.2 MiB'],
])('formatBytes(%d) = %s', (bytes, expected) => expect(formatBytes(bytes)).toBe(expected))
