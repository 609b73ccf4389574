/** LightningDiT's blocks: RMSNorm, SwiGLU, rotary positions. */
import { describe, expect, test } from 'vitest'
import { rotaryPositions } from '../../src/models/rotary-positions.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { Device } from '../../src/tensor/device.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { expectDerivatives, scatterWeights, weightsOf } from '../pretraining/directional-derivatives.ts'
import { expectClose, fromValues, type NdArray, random } from '../reference/array.ts'
import { sitForward } from '../reference/sit.ts'
import { velocityLoss as referenceLoss } from '../reference/velocity-loss.ts'
import { DEVICES } from '../tensor/devices.ts'
import { largestOf } from '../tensor/rounding.ts'
import { stepBits, velocityStep } from './velocity-step.ts'

const [BATCH, SIDE, CHANNELS] = [3, 6, 2]
const SIZES = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const LIGHTNING = { convention: 'sit', norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const
const OPTIONS = { inputSize: [SIDE, SIDE] as [number, number], channels: CHANNELS, classes: 4, projectorWidth: 24 }

const tiny = (options: Partial<Omit<SiTOptions, 'kind'>> & { device?: Device; seed?: number } = {}) =>
  SiT.create(SIZES, { ...OPTIONS, ...LIGHTNING, ...options })

test("the state dict has LightningDiT's names, shapes and order", () => {
  using model = tiny({ qkNorm: true })
  const names = model.entries.map(({ name, shape }) => `${name} ${shape}`)
  const block = (i: number) => [
    ...[`blocks.${i}.norm1.weight 32`, `blocks.${i}.norm2.weight 32`],
    ...[`blocks.${i}.attn.qkv.weight 96,32`, `blocks.${i}.attn.qkv.bias 96`],
    ...[`blocks.${i}.attn.q_norm.weight 16`, `blocks.${i}.attn.k_norm.weight 16`],
    ...[`blocks.${i}.attn.proj.weight 32,32`, `blocks.${i}.attn.proj.bias 32`],
    // Two thirds of 128, the whole part.
    ...[`blocks.${i}.mlp.w12.weight 170,32`, `blocks.${i}.mlp.w12.bias 170`],
    ...[`blocks.${i}.mlp.w3.weight 32,85`, `blocks.${i}.mlp.w3.bias 32`],
    ...[`blocks.${i}.adaLN_modulation.1.weight 192,32`, `blocks.${i}.adaLN_modulation.1.bias 192`],
  ]
  expect(names).toEqual([
    'pos_embed 1,9,32',
    ...['x_embedder.proj.weight 32,2,2,2', 'x_embedder.proj.bias 32'],
    ...['t_embedder.mlp.0.weight 32,256', 't_embedder.mlp.0.bias 32'],
    ...['t_embedder.mlp.2.weight 32,32', 't_embedder.mlp.2.bias 32'],
    'y_embedder.embedding_table.weight 5,32',
    ...['feat_rope.freqs_cos 9,16', 'feat_rope.freqs_sin 9,16'],
    ...block(0),
    ...block(1),
    'final_layer.norm_final.weight 32',
    ...['final_layer.linear.weight 8,32', 'final_layer.linear.bias 8'],
    ...['final_layer.adaLN_modulation.1.weight 64,32', 'final_layer.adaLN_modulation.1.bias 64'],
  ])
})

test.each([
  ['without a class token', {}, 0],
  ['with one, which is not turned', { classTokenWidth: 10, alignWidths: [10], alignDepth: 1 }, 1],
])('norms begin as ones and rotary positions as the grid has them, %s', async (_, options, before) => {
  using model = tiny(options)
  const state = new Map<string, Float32Array>()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    state.set(entry.name, toFloat32(await view.toHost()))
  }
  for (const [name, values] of state) if (name.includes('norm1')) expect(new Set(values), name).toEqual(new Set([1]))
  const { cos, sin } = rotaryPositions(16, 3, 3)
  const first = (value: number) => new Array<number>(before * 16).fill(value)
  expect([...state.get('feat_rope.freqs_cos')!]).toEqual([...first(1), ...cos])
  expect([...state.get('feat_rope.freqs_sin')!]).toEqual([...first(0), ...sin])
  const buffers = model.entries
    .filter(({ isBuffer }) => isBuffer)
    .map(({ name, parameter }) => [name, parameter.trainable])
  expect(buffers).toEqual([
    ['feat_rope.freqs_cos', false],
    ['feat_rope.freqs_sin', false],
  ])
})

/** Terms of each inner product on the way to an output: what one element went through. */
const FORWARD = 2 * 2 * 2 + SIZES.depth * (32 + 9 + 16 + 32 + 32 + 85 + 6 * 32) + 32 + 3 * 256

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    const x = random([BATCH, CHANNELS, SIDE, SIDE], 1)
    const t = fromValues([BATCH], [0.125, 0.5, 0.875])
    const labels = [0, 4, 2]
    const target = random([BATCH, CHANNELS, SIDE, SIDE], 2)
    const batch = { x, t, labels, target }
    const CASES: readonly (readonly [string, Partial<SiTOptions>])[] = [
      ['as it is', {}],
      ['with norms of queries and keys', { qkNorm: true }],
    ]
    const reference = (weights: ReadonlyMap<string, NdArray>, qkNorm: boolean) => {
      const { depth, heads, patch } = SIZES
      const shaped = (name: string, shape: number[]) => [name, fromValues(shape, weights.get(name)!.data)] as const
      const files = new Map([
        ...weights,
        shaped('pos_embed', [1, 9, 32]),
        shaped('x_embedder.proj.weight', [32, CHANNELS, patch, patch]),
      ])
      const config = { patch, depth, heads, encoderDepth: 1, projectors: 0, qkNorm, lightning: true }
      return sitForward(files, config, x, t, labels).output
    }

    test.each(CASES)('%s: velocity and gradients are those of the float64 reference', async (_, options) => {
      using model = tiny({ ...options, device })
      // The adaLN-zero start makes every block the identity.
      scatterWeights(model)
      const output = await velocityStep(model, batch, 'none')
      const exact = reference(await weightsOf(model), model.config.qkNorm)
      const atol = FORWARD * 2 ** -24 * largestOf(exact)
      expectClose('velocity', output, exact, { atol, rtol: 0 })
      const loss = (weights: ReadonlyMap<string, NdArray>) =>
        referenceLoss(reference(weights, model.config.qkNorm), target).loss
      await expectDerivatives(model, loss, 2 * FORWARD)
    })

    test('what a tape computes again has the same bits', async () => {
      const bits = async (recompute: Recomputation) => {
        using model = tiny({ qkNorm: true, device })
        scatterWeights(model)
        return await stepBits(model, batch, recompute)
      }
      expect(await bits('elementwise')).toEqual(await bits('none'))
    })
  })
}
