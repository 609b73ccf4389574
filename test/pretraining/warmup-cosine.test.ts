import { expect, test } from 'vitest'
import { warmupCosine } from '../../src/pretraining/warmup-cosine.ts'

test.each([
  { step: 0, expected: 0.1 },
  { step: 9, expected: 1 },
  { step: 10, expected: 1 },
  // A third and a half of the way down.
  { step: 40, expected: 0.2 + 0.8 * 0.75 },
  { step: 55, expected: 0.6 },
  { step: 100, expected: 0.2 },
])('at step $step of 100, ten of which warm up', ({ step, expected }) => {
  expect(warmupCosine({ step, total: 100 }, { peak: 1, floor: 0.2, warmup: 0.1 })).toBeCloseTo(expected, 12)
})
