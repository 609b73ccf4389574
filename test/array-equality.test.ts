import { expect, test } from 'vitest'
import { equalNumbers } from './array-equality.ts'

test.each([
  { a: Float32Array.of(1, Number.NaN), b: Float32Array.of(1, Number.NaN), equal: true },
  { a: Float32Array.of(0), b: Float32Array.of(-0), equal: false },
  { a: Uint8Array.of(1, 2), b: Uint8Array.of(1, 3), equal: false },
  { a: Uint8Array.of(1, 2), b: Uint8Array.of(1, 2, 3), equal: false },
  { a: BigInt64Array.of(1n, 2n), b: BigInt64Array.of(1n, 2n), equal: true },
  { a: Float32Array.of(1), b: Float64Array.of(1), equal: undefined },
  { a: [1, 2, Number.NaN], b: [1, 2, Number.NaN], equal: true },
  { a: [1, 2], b: [1, 3], equal: undefined },
  { a: [1, 2], b: [1, 2, 3], equal: undefined },
  { a: [1, '2'], b: [1, '2'], equal: undefined },
  { a: new DataView(new ArrayBuffer(1)), b: new DataView(new ArrayBuffer(1)), equal: undefined },
  { a: 1, b: 1, equal: undefined },
])('$a and $b: $equal', ({ a, b, equal }) => {
  expect(equalNumbers(a, b)).toBe(equal)
  // What it leaves open, the matcher decides as it does without it.
  if (equal ?? (String(a) === String(b) && a.constructor === b.constructor)) expect(a).toEqual(b)
  else expect(a).not.toEqual(b)
})
