import { expect, test } from 'vitest'
import { encoderDigest } from '../../src/alignment/encoder-digest.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import type { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { openaiClip, transformersClip, writeClip } from '../evaluation/clip-files.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const TOWER = { hidden_act: 'gelu', layer_norm_eps: 1e-3 }
const STATED = { activation: 'gelu-erf', epsilon: 1e-3 }
const OPENAI = { activation: 'quick-gelu', epsilon: 1e-5 }

/** What a config.json beside weights of CLIP states of its image tower is what the encoder computes. */
test.each([
  ['of CLIPModel', { model_type: 'clip', vision_config: TOWER, text_config: { hidden_act: 'relu' } }, STATED],
  ['of CLIPVisionModel', { model_type: 'clip_vision_model', ...TOWER }, STATED],
  ['that states neither', { model_type: 'clip', vision_config: {} }, OPENAI],
  ['of another model', { model_type: 'dinov2', ...TOWER }, OPENAI],
  ['of another model with a tower', { model_type: 'siglip', vision_config: { hidden_act: 'relu' } }, OPENAI],
  ['of a text tower', { model_type: 'clip_text_model', hidden_act: 'relu' }, OPENAI],
  ['that names no model', { hidden_act: 'relu' }, OPENAI],
  ['that is not there', undefined, OPENAI],
])('a config.json %s', async (_, config, expected) => {
  for (const tensors of [transformersClip(), openaiClip()]) {
    const file = await writeClip(temporaryFolder(), { tensors, config })
    using encoder = (await loadEncoder('clip-vit-L', file)) as VisionEncoder
    expect(encoder.model.config).toMatchObject(expected)
  }
})

test('one of an activation that is not computed is refused', async () => {
  const file = await writeClip(temporaryFolder(), { config: { vision_config: { hidden_act: 'relu' } } })
  await expect(loadEncoder('clip-vit-L', file)).rejects.toThrow('hidden_act is "relu"')
})

test('an encoder is known by what lies beside its weights, where that is not as its publisher has it', async () => {
  const tensors = openaiClip()
  const digest = async (config: object | undefined, name = 'clip-vit-L') =>
    encoderDigest(name, await writeClip(temporaryFolder(), { tensors, ...(config && { config }) }))
  const bare = await digest(undefined)
  expect(await digest({ vision_config: { hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 } })).toBe(bare)
  const exact = await digest({ vision_config: { hidden_act: 'gelu' } })
  const both = await digest({ vision_config: TOWER })
  expect(new Set([bare, exact, both]).size).toBe(3)
  expect(await digest({ vision_config: { layer_norm_eps: 1e-3, hidden_act: 'gelu' } })).toBe(both)
  // Another family reads no such file.
  expect(await digest({ vision_config: TOWER }, 'mae-vit-l')).toBe(bare)
})
