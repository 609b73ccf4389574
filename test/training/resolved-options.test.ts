/** What a Trainer does where nothing is said: as a run of a configuration in which nothing is. */
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import { AdamW, REPA_ADAMW } from '../../src/training/optimizer.ts'
import { REFERENCE_DEFAULTS } from '../../src/training/reference-defaults.ts'
import { resolveTrainerOptions } from '../../src/training/resolved-options.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { align, BATCH, modelOf } from './tiny-trainer.ts'

/** Of one name, and not the same: a preset's name beside a model, and what `auto` comes to. */
const OTHERS = ['model', 'recompute']

test('of library and configuration every default is the same', async () => {
  using model = modelOf()
  const data = await Dataset.open(await tinyDataset(2 * BATCH))
  const resolved: Readonly<Record<string, unknown>> = {
    ...resolveTrainerOptions({ model, data, batch: BATCH }),
  }
  const said = Object.entries(trainingSchema.parse({ batch: BATCH })).filter(([, value]) => value !== undefined)
  const shared = said.filter(([name]) => name in resolved && !OTHERS.includes(name))
  expect(Object.fromEntries(shared.map(([name]) => [name, resolved[name]]))).toEqual(Object.fromEntries(shared))
  const names = shared.map(([name]) => name)
  expect(names).toEqual(expect.arrayContaining(Object.keys(REFERENCE_DEFAULTS)))
  expect(names).toEqual(expect.arrayContaining(Object.keys(REPA_ADAMW).filter((name) => name !== 'lossScale')))
})

test('with an encoder too, whose weight, loss and temperature are not said', async () => {
  using model = modelOf()
  const data = await Dataset.open(await tinyDataset(2 * BATCH))
  const { encoders, ...resolved } = resolveTrainerOptions({
    model,
    data,
    batch: BATCH,
    align: { encoder: align.encoder },
  })
  const { alignWeight, alignLoss, alignTemperature } = trainingSchema.parse({})
  expect(encoders).toEqual([align.encoder])
  expect(resolved).toMatchObject({ alignWeight, alignLoss, alignTemperature, alignDepth: 2, projector: 'mlp' })
})

test("an optimizer's own defaults are those", () => {
  using model = modelOf()
  using optimizer = new AdamW(model.arena)
  const { learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay } = trainingSchema.parse({})
  expect(optimizer.options).toMatchObject({ learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay })
})
