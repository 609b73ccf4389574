/**
 * For every test file: arrays of numbers are compared in one pass. Vitest's own comparison walks over the elements as over an object's
 * properties, several times: a quarter of the suite's time on tensors. What is equal stays the same, NaN to NaN and 0 not to -0.
 */
import { expect } from 'vitest'

type Numbers = ArrayLike<number | bigint>

function isTyped(value: unknown): value is Numbers {
  return ArrayBuffer.isView(value) && !(value instanceof DataView)
}

const isPlain = (value: unknown): value is unknown[] => Array.isArray(value)

/** Whether two arrays of one kind are equal; undefined where they are no such arrays, or hold something else than numbers. */
export function equalNumbers(a: unknown, b: unknown): boolean | undefined {
  const areTyped = isTyped(a) && isTyped(b) && a.constructor === b.constructor
  if (!areTyped && !(isPlain(a) && isPlain(b))) return undefined
  if (a.length !== b.length) return areTyped ? false : undefined
  for (let i = 0; i < a.length; i++) {
    const [one, other] = [a[i], b[i]]
    if (!areTyped && (typeof one !== 'number' || typeof other !== 'number')) return undefined
    if (!Object.is(one, other)) return areTyped ? false : undefined
  }
  return true
}

/** Files that share a process share what is added to `expect`, and each of them comes by here. */
const ADDED = Symbol.for('repa-native: arrays of numbers are compared in one pass')
if (!Object.hasOwn(globalThis, ADDED)) {
  expect.addEqualityTesters([equalNumbers])
  Object.defineProperty(globalThis, ADDED, { value: true })
}
