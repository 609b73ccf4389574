import { expect, test } from 'vitest'
import { DiT } from '../../src/models/dit.ts'
import { DiTObjective } from '../../src/training/dit-objective.ts'

test("a DiT's training draws each of the diffusion's 1000 steps as often as any other", async () => {
  const [steps, each] = [1000, 64]
  using model = DiT.create({ depth: 1, hidden: 8, heads: 1, patch: 2 }, { inputSize: [2, 2], classes: 2 })
  using objective = new DiTObjective(model)
  using t = objective.drawTimes(steps * each, { seed: 5, stream: 'timesteps', step: 3 }, 'cpu')
  const counts = new Float64Array(steps)
  for (const step of await t.dataAs('i32')) counts[step]!++
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(steps * each)
  // χ² of 999 degrees of freedom: a mean of 999, a deviation of √1998, of which six are 268.
  const squares = counts.reduce((sum, count) => sum + (count - each) ** 2 / each, 0)
  expect(Math.abs(squares - 999)).toBeLessThan(268)
  expect(Math.min(...counts)).toBeGreaterThan(0)
})
