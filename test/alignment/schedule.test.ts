import { expect, test } from 'vitest'
import { type AlignmentSchedule, isOver, scheduleFactor } from '../../src/alignment/schedule.ts'

const CASES: readonly (readonly [schedule: AlignmentSchedule, factors: Readonly<Record<number, number>>])[] = [
  [{}, { 0: 1, 1e6: 1 }],
  [{ until: 4 }, { 0: 1, 3: 1, 4: 0, 9: 0 }],
  [
    { until: 4, decay: 'none' },
    { 3: 1, 4: 0 },
  ],
  [
    { until: 4, decay: 'linear' },
    { 0: 1, 1: 0.75, 2: 0.5, 3: 0.25, 4: 0, 5: 0 },
  ],
  [
    { until: 4, decay: 'cosine' },
    { 0: 1, 1: (1 + Math.SQRT1_2) / 2, 2: 0.5, 3: (1 - Math.SQRT1_2) / 2, 4: 0, 5: 0 },
  ],
]
test.each(CASES)('%j', (schedule, factors) => {
  for (const [step, factor] of Object.entries(factors)) {
    expect(scheduleFactor(Number(step), schedule)).toBeCloseTo(factor, 15)
    expect(isOver(Number(step), schedule)).toBe(factor === 0)
  }
})
