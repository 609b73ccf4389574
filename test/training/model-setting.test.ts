/** The setting `model` that is written into a run's configuration for a model that came from elsewhere. */
import { expect, test } from 'vitest'
import {
  type AnyTransformerConfig,
  transformerConfigSchema,
  transformerOfPreset,
} from '../../src/models/transformer-kinds.ts'
import { modelSetting, type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const configOf = (model: NonNullable<TrainingOptions['model']>): AnyTransformerConfig =>
  transformerConfigSchema.parse({
    inputSize: [32, 32],
    ...(typeof model === 'string' ? transformerOfPreset(model) : model),
  })

const SIZE = { depth: 2, hidden: 64, heads: 2, patch: 2, mlpRatio: 4, qkNorm: false } as const
const XL = { depth: 28, hidden: 1152, heads: 16, patch: 2, mlpRatio: 4, qkNorm: false } as const

test.each<NonNullable<TrainingOptions['model']>>([
  'SiT-XL/2',
  'DiT-B/4',
  'LightningDiT-XL/1',
  'LightningDiT-XL/2',
  'DiTDH-XL',
  { kind: 'SiT', ...SIZE, ddtHead: { depth: 1, hidden: 96, heads: 2 } },
  { kind: 'SiT', ...SIZE },
  { kind: 'SiT', ...SIZE, qkNorm: true, learnSigma: true, convention: 'sit' },
  { kind: 'SiT', ...SIZE, norm: 'rmsNorm', ffn: 'swiglu', rope: true },
  { kind: 'DiT', ...SIZE, learnSigma: false, ffn: 'swiglu' },
  // A preset's sizes and not the preset.
  { kind: 'SiT', ...XL, convention: 'sit' },
  { kind: 'SiT', ...XL, rope: true },
  { kind: 'SiT', ...XL, norm: 'rmsNorm', ffn: 'swiglu', rope: true },
])('of the model of %j is that', (model) => {
  expect(modelSetting(configOf(model))).toEqual(model)
  expect(trainingSchema.parse({ model }).model).toEqual(model)
})

test('of a model that happens to be a preset is its name', () => {
  expect(modelSetting(configOf({ kind: 'SiT', ...XL }))).toBe('SiT-XL/2')
  const lightning = { norm: 'rmsNorm', ffn: 'swiglu', rope: true, convention: 'sit' } as const
  expect(modelSetting(configOf({ kind: 'SiT', ...XL, ...lightning }))).toBe('LightningDiT-XL/2')
})
