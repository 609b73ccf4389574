import { expect, test } from 'vitest'
import { packNumbers } from '../../src/report/pack-numbers.ts'
import { unpackNumbers } from '../../src/report/packed-numbers.ts'

const range = (count: number, f: (i: number) => number) => Float64Array.from({ length: count }, (_, i) => f(i))
const float32 = (values: Float64Array) => Float64Array.from(values, Math.fround)

const steps = range(5000, (i) => i * 3 + (i % 2))
const cases: [string, Float64Array, key: string | undefined, expected: (values: Float64Array) => Float64Array][] = [
  ['none', range(0, (i) => i), undefined, (values) => values],
  ['few', Float64Array.of(0.5, -0.25, 1e-9), undefined, (values) => values],
  ['steps', range(100_000, (i) => i + 1), 'count', (values) => values],
  ['a constant', range(1000, () => 1e-4), 'count', (values) => values],
  ['steps unevenly far apart', steps, 'distances', (values) => values],
  ['steps that go down', range(100, (i) => (i - 50) ** 2), 'float32', (values) => values],
  ['steps too far apart for 16 bits', range(100, (i) => i * i * 70_000), 'float32', float32],
  ['values', range(1000, (i) => Math.sin(i)), 'float32', float32],
]

test.each(cases)('%s', (_, values, key, expected) => {
  // Through JSON, as in a page.
  const packed = JSON.parse(JSON.stringify(packNumbers(values)))
  expect(Object.keys(packed).includes(key ?? '0') || values.length === 0).toBe(true)
  expect(unpackNumbers(packed)).toEqual(expected(values))
})
