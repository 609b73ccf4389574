import { expect, test } from 'vitest'
import { activate, erf } from './activation.ts'

// Abramowitz & Stegun table 7.1 and its continuation.
test.each([
  [0, 0],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [2, 0.9953222650189527],
  [3, 0.9999779095030014],
  [7, 1],
])('erf(%d)', (x, expected) => {
  expect(erf(x)).toBeCloseTo(expected, 14)
  expect(erf(-x)).toBeCloseTo(-expected, 14)
})

// GELU(x) = x Phi(x) with Phi(1) = 0.8413447460685429; the tanh form differs from it by less than 5e-4 everywhere.
test('gelu', () => {
  expect(activate('gelu-erf', 1)).toBeCloseTo(0.8413447460685429, 14)
  expect(activate('gelu-erf', -1)).toBeCloseTo(0.8413447460685429 - 1, 14)
  for (let x = -6; x <= 6; x += 0.25) {
    expect(Math.abs(activate('gelu-tanh', x) - activate('gelu-erf', x))).toBeLessThan(5e-4)
  }
})
