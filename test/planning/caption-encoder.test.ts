/** What a plan takes for what encodes captions: the encoder that the settings name, as a training does. */
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { planStep } from '../../src/planning/planned-step.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const plan = (options: TrainingOptions) =>
  planStep({
    configuration: { ...trainingSchema.parse({ ...options, batch: 2 }), precision: 'bf16' },
    data: Dataset.described({
      path: 'nowhere',
      length: 100,
      classes: 10,
      imageSize: 64,
      storedLatentShape: [8, 8, 8],
      captions: true,
    }),
    device: 'cuda:0',
    machine: { threads: 2, multiprocessors: 132, isHopper: true },
  })

const captionEncoder = { file: 'none' }

test.each<[string, TrainingOptions, boolean]>([
  ['a model of text has that of its sizes', { model: 'MMDiT-d12/2', captionEncoder }, true],
  ['a model of classes has none', { model: 'SiT-S/2' }, false],
])('%s', (_, options, encodes) => {
  expect(plan(options).flops.encoder > 0).toBe(encodes)
})

test.each<[string, TrainingOptions, string]>([
  [
    'a model of text without one',
    { model: 'MMDiT-d12/2' },
    "The model is told captions, and nothing encodes them; give it a caption encoder, CLIP's text encoder, by `captionEncoder`.",
  ],
  [
    'a model of classes with one',
    { model: 'SiT-S/2', captionEncoder },
    'A caption encoder is for a model of text, and this model is of classes; leave it out, or train an MMDiT.',
  ],
])('%s is refused, as in training', (_, options, message) => {
  expect(() => plan(options)).toThrow(new RangeError(message))
})
