import { expect, test } from 'vitest'
import { float16ToFloat32, numberToFloat16 } from '../../src/tensor/float16.ts'
import { float16ToNumber } from '../../src/tensor/host-tensor.ts'

test('every binary16 number is its own, to and fro', () => {
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, half) => half)
  const numbers = float16ToFloat32(all)
  for (const half of all) {
    expect(Object.is(numbers[half], float16ToNumber(half))).toBe(true)
    const number = numbers[half]!
    if (Number.isNaN(number)) expect(numberToFloat16(number) & 0x7c00).toBe(0x7c00)
    else expect(numberToFloat16(number)).toBe(half)
  }
})

test('what lies between two is rounded to the nearer, ties to the even one', () => {
  for (let half = 0; half < 0x7bff; half++) {
    const [low, high] = [float16ToNumber(half), float16ToNumber(half + 1)]
    const middle = (low + high) / 2
    const even = half % 2 === 0 ? half : half + 1
    const nudge = (high - low) / 64
    for (const [sign, bit] of [
      [1, 0],
      [-1, 0x8000],
    ] as const) {
      expect(numberToFloat16(sign * middle)).toBe(bit | even)
      expect(numberToFloat16(sign * (middle - nudge))).toBe(bit | half)
      expect(numberToFloat16(sign * (middle + nudge))).toBe(bit | (half + 1))
    }
  }
})

test.each([
  [65519, 0x7bff],
  [65520, 0x7c00],
  [-1e30, 0xfc00],
  [2 ** -25, 0],
  [2 ** -25 * 1.01, 1],
  [1e-30, 0],
])('numberToFloat16(%d)', (number, half) => {
  expect(numberToFloat16(number)).toBe(half)
})
