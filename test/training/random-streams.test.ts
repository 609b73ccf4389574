/** No two things that a step draws share random numbers: one would follow from the other. */
import { expect, test, vi } from 'vitest'
import * as random from '../../src/tensor/random.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { BATCH, CASES, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

vi.mock('../../src/tensor/random.ts', { spy: true })

const isKey = (argument: unknown): argument is random.RandomKey =>
  typeof argument === 'object' && argument !== null && 'stream' in argument

test.each(CASES)('of a $name', async (table) => {
  const data = await captionedDataset(2 * BATCH)
  using model = modelOf(table)
  await using trainer = await tinyTrainer(model, data, { ...table.options, seed: 3 })
  vi.clearAllMocks()
  await steps(trainer, 2)
  const drawing = Object.values(random).filter((each) => vi.isMockFunction(each))
  const keys = drawing.flatMap(({ mock }) => mock.calls.flat().filter(isKey))
  const drawn = keys.map(({ seed, stream, step }) => `${stream}, seed ${seed}, step ${step}`)
  for (const step of [0, 1])
    for (const stream of ['timesteps', 'noise']) expect(drawn).toContain(`${stream}, seed 3, step ${step}`)
  expect([...new Set(drawn)]).toEqual(drawn)
})
