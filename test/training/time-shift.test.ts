/** Training times moved towards noise: what is drawn, and that a training of that setting trains on it. */
import { expect, test } from 'vitest'
import { randomTimesteps } from '../../src/tensor/random.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import { objectiveFor } from '../../src/training/objectives.ts'
import { trainerSettings } from '../../src/training/trainer-settings.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { BATCH, makeFirstStep, modelOf } from './tiny-trainer.ts'

const KEY = { seed: 1, stream: 'timesteps', step: 3 } as const

test.each(['uniform', 'lognormal'] as const)('an objective draws shifted %s times', async (weighting) => {
  using model = modelOf()
  using objective = objectiveFor(model, { weighting, timeShift: 4 })
  using drawn = objective.drawTimes(64, KEY, 'cpu')
  using plain = randomTimesteps(64, { weighting, path: 'linear' }, KEY, 'cpu')
  const [shifted, times] = await Promise.all([drawn.data(), plain.data()])
  expect(shifted).toEqual(times.map((t) => (4 * t) / (1 - t + 4 * t)))
})

test('a configuration hands it to its trainer, which trains on other times', async () => {
  const settings = trainerSettings(trainingSchema.parse({ model: 'SiT-B/2', timeShift: 4 }))
  expect(settings).toMatchObject({ timeShift: 4 })
  const data = await tinyDataset(2 * BATCH)
  const [{ step: plain }, { step: shifted }, { step: unshifted }] = await Promise.all(
    [undefined, 4, 1].map((timeShift) => makeFirstStep({ name: 'SiT', options: { timeShift } as object }, data, {})),
  )
  expect(shifted!.denoising).not.toBe(plain!.denoising)
  expect(unshifted!.denoising).toBe(plain!.denoising)
})
