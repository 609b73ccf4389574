/** The setting `model` that is written into a run's configuration for a model that came from elsewhere. */
import { expect, test } from 'vitest'
import type { TransformerPreset } from '../../src/models/presets.ts'
import {
  type AnyTransformerConfig,
  TRANSFORMER_PRESETS,
  transformerConfigSchema,
  transformerOfPreset,
} from '../../src/models/transformer-kinds.ts'
import { type ModelSetting, modelSetting, trainingSchema } from '../../src/training/configuration.ts'

const configOf = (model: ModelSetting): AnyTransformerConfig =>
  transformerConfigSchema.parse({
    inputSize: [32, 32],
    ...(typeof model !== 'string' && 'text' in model && model.text && { classes: 0 }),
    ...(typeof model === 'string' ? transformerOfPreset(model) : model),
  })

const SIZE = { depth: 2, hidden: 64, heads: 2, patch: 2 } as const
const XL = { depth: 28, hidden: 1152, heads: 16, patch: 2 } as const

test.each<ModelSetting>([
  'SiT-XL/2',
  'DiT-B/4',
  'LightningDiT-XL/1',
  'LightningDiT-XL/2',
  'DiTDH-XL',
  { kind: 'SiT', ...SIZE, ddtHead: { depth: 1, hidden: 96, heads: 2 } },
  { kind: 'SiT', ...SIZE },
  { kind: 'SiT', ...SIZE, mlpRatio: 3, qkNorm: true, learnSigma: true, convention: 'sit' },
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

test.each(Object.keys(TRANSFORMER_PRESETS) as TransformerPreset[])(
  'of %s, by whatever it is said, is its name',
  (preset) => {
    expect(modelSetting(preset)).toBe(preset)
    expect(modelSetting(configOf(preset))).toBe(preset)
  },
)

test.each<readonly [given: ModelSetting, setting: ModelSetting]>([
  [
    { kind: 'SiT', ...SIZE, mlpRatio: 4, qkNorm: false, norm: 'layerNorm', rope: false },
    { kind: 'SiT', ...SIZE },
  ],
  [
    { kind: 'SiT', ...SIZE, ffn: 'mlp', convention: 'repa', learnSigma: false },
    { kind: 'SiT', ...SIZE },
  ],
  [
    { kind: 'DiT', ...SIZE, learnSigma: true },
    { kind: 'DiT', ...SIZE },
  ],
  [
    { kind: 'DiT', ...SIZE, learnSigma: false, mlpRatio: 4 },
    { kind: 'DiT', ...SIZE, learnSigma: false },
  ],
  [{ kind: 'SiT', ...XL, mlpRatio: 4 }, 'SiT-XL/2'],
  [{ kind: 'DiT', ...XL, learnSigma: true }, 'DiT-XL/2'],
  [{ kind: 'SiT', depth: 12, hidden: 384, heads: 12, patch: 2, text: { tokens: 77, width: 768 } }, 'MMDiT-d12/2'],
])('of %j is %j', (given, setting) => {
  expect(modelSetting(given)).toEqual(setting)
  expect(configOf(given)).toEqual(configOf(setting))
})

test('of a model that happens to be a preset is its name', () => {
  expect(modelSetting(configOf({ kind: 'SiT', ...XL }))).toBe('SiT-XL/2')
  const lightning = { norm: 'rmsNorm', ffn: 'swiglu', rope: true, convention: 'sit' } as const
  expect(modelSetting(configOf({ kind: 'SiT', ...XL, ...lightning }))).toBe('LightningDiT-XL/2')
})
