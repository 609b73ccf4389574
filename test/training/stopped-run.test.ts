/** A trainer whose run is ended by its signal, and goes on in the same process. */
import { expect, test } from 'vitest'
import type { TrainingStep } from '../../src/training/trainer-options.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { align, BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const STEPS = 6

test.each([
  ['before its first step', 0],
  ['after a step', 1],
  ['after another', 3],
])('stopped %s it goes on with the samples that it has read: the bits of the unbroken run', async (_, stopAfter) => {
  const data = await tinyDataset(2 * BATCH)
  using whole = modelOf()
  await using unbroken = await tinyTrainer(whole, data, { align })
  const expected = await steps(unbroken, STEPS)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, { align })
  const stop = new AbortController()
  if (stopAfter === 0) stop.abort()
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps: STEPS, signal: stop.signal })) {
    made.push(step)
    if (step.index === stopAfter) stop.abort()
  }
  expect(trainer.isStopped).toBe(true)
  expect(trainer.step).toBeLessThan(STEPS)
  made.push(...(await steps(trainer, STEPS)))
  expect(trainer.isStopped).toBe(false)
  expect(made.map(({ index, loss }) => [index, loss])).toEqual(expected.map(({ index, loss }) => [index, loss]))
  expect(await digestOf(trainer)).toBe(await digestOf(unbroken))
})
