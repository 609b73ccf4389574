import { describe, expect, test } from 'vitest'
import { keyedRandom } from '../../src/data/keyed-random.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { MaskedAutoencoding, maskedTokens } from '../../src/pretraining/mae.ts'
import { MaskedAutoencoder } from '../../src/pretraining/mae-model.ts'
import { randomMasks } from '../../src/pretraining/masking.ts'
import { mean, velocityLoss } from '../../src/tensor/ops/loss.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { type NdArray, random } from '../reference/array.ts'
import { maskedAutoencoderLoss } from '../reference/masked-autoencoder.ts'
import { DEVICES } from '../tensor/devices.ts'
import { expectDerivatives, scatterWeights, weightsOf } from './directional-derivatives.ts'

const encoder = visionTransformerConfigSchema.parse({
  imageSize: 12,
  patch: 3,
  hidden: 24,
  depth: 2,
  heads: 3,
  layerScale: false,
  maskToken: false,
})
const DECODER = { hidden: 16, depth: 1, heads: 2 }
const [BATCH, PATCHES, ELEMENTS] = [2, 16, 27]

/** Terms of each inner product, forwards and back. */
const ROUNDINGS = 2 * (encoder.depth * 15 * 24 + DECODER.depth * 15 * 16 + 3 * ELEMENTS + 24) + BATCH * (PATCHES + 1)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`MAE on ${device}`, () => {
    test('loss and gradients are those of the float64 reference', async () => {
      using model = new MaskedAutoencoder(encoder, DECODER, device)
      model.initialise(1)
      scatterWeights(model)
      model.arena.allocateGradients()
      const patches = random([BATCH, PATCHES, ELEMENTS], 3)
      const masks = randomMasks(BATCH, PATCHES, 0.75, keyedRandom(5))
      const loss = scope(() => {
        const input = Tensor.from(Float32Array.from(patches.data), patches.shape, device)
        const { tokens, target } = maskedTokens(input, masks)
        using tape = new Tape()
        const losses = tape.record(() => velocityLoss(model.forward(input, tokens), target))
        tape.backward(model.arena.parameters).dispose()
        return mean(losses)
      })
      const value = await loss.item()
      loss.dispose()
      const visible = Array.from({ length: BATCH }, (_, b) => [
        ...masks.visible.subarray(b * masks.visibleCount, (b + 1) * masks.visibleCount),
      ])
      const reference = (weights: ReadonlyMap<string, NdArray>) =>
        maskedAutoencoderLoss(patches, visible, {
          weights,
          depth: encoder.depth,
          heads: encoder.heads,
          decoderDepth: DECODER.depth,
          decoderHeads: DECODER.heads,
        })
      expect(Math.abs(value / reference(await weightsOf(model)) - 1)).toBeLessThan(ROUNDINGS * 2 ** -24)
      await expectDerivatives(model, reference, ROUNDINGS)
    })
  })
}

test('the state dict has the names and shapes of facebookresearch/mae', () => {
  using model = new MaskedAutoencoder(encoder, DECODER, 'cpu')
  const block = (name: string, width: number) => [
    [`${name}.norm1.weight`, [width]],
    [`${name}.norm1.bias`, [width]],
    [`${name}.attn.qkv.weight`, [3 * width, width]],
    [`${name}.attn.qkv.bias`, [3 * width]],
    [`${name}.attn.proj.weight`, [width, width]],
    [`${name}.attn.proj.bias`, [width]],
    [`${name}.norm2.weight`, [width]],
    [`${name}.norm2.bias`, [width]],
    [`${name}.mlp.fc1.weight`, [4 * width, width]],
    [`${name}.mlp.fc1.bias`, [4 * width]],
    [`${name}.mlp.fc2.weight`, [width, 4 * width]],
    [`${name}.mlp.fc2.bias`, [width]],
  ]
  expect(model.entries.map(({ name, shape }) => [name, shape])).toEqual([
    ['cls_token', [1, 1, 24]],
    ['pos_embed', [1, 17, 24]],
    ['patch_embed.proj.weight', [24, 3, 3, 3]],
    ['patch_embed.proj.bias', [24]],
    ...block('blocks.0', 24),
    ...block('blocks.1', 24),
    ['norm.weight', [24]],
    ['norm.bias', [24]],
    ['mask_token', [1, 1, 16]],
    ['decoder_pos_embed', [1, 17, 16]],
    ['decoder_embed.weight', [16, 24]],
    ['decoder_embed.bias', [16]],
    ...block('decoder_blocks.0', 16),
    ['decoder_norm.weight', [16]],
    ['decoder_norm.bias', [16]],
    ['decoder_pred.weight', [27, 16]],
    ['decoder_pred.bias', [27]],
  ])
})

test('the optimizer and its schedule are those of main_pretrain.py', () => {
  const statistics = { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] }
  const options = { encoder, statistics, learningRate: undefined, seed: 1, device: 'cpu' } as const
  using method = new MaskedAutoencoding({ ...options, batch: 512 })
  expect(method.optimizer).toEqual({ betas: [0.9, 0.95], maxGradNorm: Number.POSITIVE_INFINITY })
  // 1.5e-4 for 256 images, after a twentieth of the steps.
  const peak = method.schedule({ step: 50, total: 1000 })
  expect(peak).toMatchObject({ weightDecay: 0.05, emaDecay: 0 })
  expect(peak.learningRate).toBeCloseTo(3e-4, 12)
  expect(method.schedule({ step: 1000, total: 1000 }).learningRate).toBeCloseTo(0, 12)
})
