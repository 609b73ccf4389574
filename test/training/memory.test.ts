import { expect, test } from 'vitest'
import { TrainingStep } from '../../src/benchmark/training-step.ts'
import { SiT } from '../../src/models/sit.ts'
import { memoryStats, resetPeakMemory } from '../../src/tensor/device.ts'

const STEPS = 500
const SETTLED = 5
const BATCH = 2
const model = { depth: 2, hidden: 96, heads: 2, patch: 4 }

test(`${STEPS} steps take no more memory than ${SETTLED}`, { timeout: 300_000 }, async () => {
  using sit = SiT.create(model, { alignWidths: [32], alignDepth: 1, projectorWidth: 64 })
  using step = new TrainingStep(sit, { batch: BATCH })
  for (let i = 0; i < SETTLED; i++) await step.run()
  resetPeakMemory(sit.device)
  await step.run()
  const settled = memoryStats(sit.device)
  const resident = process.memoryUsage.rss()
  for (let i = SETTLED + 1; i < STEPS; i++) await step.run()
  expect(memoryStats(sit.device)).toEqual(settled)
  // What one of a block's activations would come to, were it lost in every step. The rest of the process may well grow a little.
  const activation = 4 * BATCH * sit.tokens * model.hidden
  expect(process.memoryUsage.rss() - resident).toBeLessThan((STEPS - SETTLED) * activation)
})
