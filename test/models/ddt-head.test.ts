/** DiT-DH: a trunk of LightningDiT's blocks and RAE's wide head, which every token conditions for itself. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { inferTransformerConfig } from '../../src/models/infer-transformer.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import { type Device, memoryStats } from '../../src/tensor/device.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectDerivatives, scatterWeights, weightsOf } from '../pretraining/directional-derivatives.ts'
import { expectClose, fromValues, type NdArray, random } from '../reference/array.ts'
import { ditDhForward } from '../reference/dit-dh.ts'
import { velocityLoss as referenceLoss } from '../reference/velocity-loss.ts'
import { DEVICES } from '../tensor/devices.ts'
import { largestOf } from '../tensor/rounding.ts'
import { stepBits, uploaded, velocityStep } from './velocity-step.ts'

const [BATCH, SIDE, CHANNELS, TOKENS] = [3, 6, 2, 9]
const SIZES = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const HEAD = { depth: 2, hidden: 48, heads: 3 } as const
const LIGHTNING = { norm: 'rmsNorm', ffn: 'swiglu', rope: true } as const
const OPTIONS = { inputSize: [SIDE, SIDE] as [number, number], channels: CHANNELS, classes: 4, projectorWidth: 24 }

type More = Partial<Omit<SiTOptions, 'kind'>> & { device?: Device; seed?: number }
const tiny = (options: More = {}) => SiT.create(SIZES, { ...OPTIONS, ...LIGHTNING, ddtHead: HEAD, ...options })

test("the state dict has RAE's names, shapes and order", () => {
  using model = tiny({ alignWidths: [10], alignDepth: 1 })
  const names = model.entries.map(({ name, shape }) => `${name} ${shape}`)
  const block = (i: number, width: number, ffn: number) => [
    ...[`blocks.${i}.norm1.weight ${width}`, `blocks.${i}.norm2.weight ${width}`],
    ...[`blocks.${i}.attn.qkv.weight ${3 * width},${width}`, `blocks.${i}.attn.qkv.bias ${3 * width}`],
    ...[`blocks.${i}.attn.proj.weight ${width},${width}`, `blocks.${i}.attn.proj.bias ${width}`],
    ...[`blocks.${i}.mlp.w12.weight ${2 * ffn},${width}`, `blocks.${i}.mlp.w12.bias ${2 * ffn}`],
    ...[`blocks.${i}.mlp.w3.weight ${width},${ffn}`, `blocks.${i}.mlp.w3.bias ${width}`],
    ...[
      `blocks.${i}.adaLN_modulation.1.weight ${6 * width},${width}`,
      `blocks.${i}.adaLN_modulation.1.bias ${6 * width}`,
    ],
  ]
  expect(names).toEqual([
    'pos_embed 1,9,32',
    ...['x_embedder.proj.weight 48,2,2,2', 'x_embedder.proj.bias 48'],
    ...['s_embedder.proj.weight 32,2,2,2', 's_embedder.proj.bias 32'],
    ...['s_projector.weight 48,32', 's_projector.bias 48'],
    't_embedder.W 256',
    ...['t_embedder.mlp.0.weight 32,512', 't_embedder.mlp.0.bias 32'],
    ...['t_embedder.mlp.2.weight 32,32', 't_embedder.mlp.2.bias 32'],
    'y_embedder.embedding_table.weight 5,32',
    'final_layer.norm_final.weight 48',
    ...['final_layer.linear.weight 8,48', 'final_layer.linear.bias 8'],
    ...['final_layer.adaLN_modulation.1.weight 96,48', 'final_layer.adaLN_modulation.1.bias 96'],
    ...['enc_feat_rope.freqs_cos 9,16', 'enc_feat_rope.freqs_sin 9,16'],
    ...['dec_feat_rope.freqs_cos 9,16', 'dec_feat_rope.freqs_sin 9,16'],
    ...[...block(0, 32, 85), ...block(1, 32, 85), ...block(2, 48, 128), ...block(3, 48, 128)],
    ...[
      'projectors.0.0.weight 24,32',
      'projectors.0.0.bias 24',
      'projectors.0.2.weight 24,24',
      'projectors.0.2.bias 24',
    ],
    ...['projectors.0.4.weight 10,24', 'projectors.0.4.bias 10'],
  ])
})

test('frequencies of time are drawn, differently by seed, and not trained', async () => {
  const drawn = async (seed: number) => {
    using model = tiny({ seed })
    const entry = model.entries.find(({ name }) => name === 't_embedder.W')!
    expect(entry.parameter.trainable).toBe(false)
    using view = model.arena.view('weights', entry)
    return [...(await view.data())]
  }
  const frequencies = await drawn(1)
  expect(frequencies).not.toEqual(await drawn(2))
  const mean = frequencies.reduce((sum, value) => sum + value / 256, 0)
  const variance = frequencies.reduce((sum, value) => sum + (value - mean) ** 2 / 256, 0)
  // Four deviations of either.
  expect(Math.abs(mean)).toBeLessThan(4 / 16)
  expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / 256))
})

describe('settings that do not go together', () => {
  const WRONG: readonly [string, More, string][] = [
    ['heads', { ddtHead: { ...HEAD, heads: 5 } }, 'has 5 heads, which do not divide its width 48'],
    ['a head_dim', { ddtHead: { depth: 1, hidden: 512, heads: 2 } }, 'has a head_dim of 256; at most 128 is supported'],
    [
      'odd pairs',
      { ddtHead: { depth: 1, hidden: 12, heads: 2 } },
      'has a head_dim of 6, and rotary positions want a multiple of 4',
    ],
    ['a variance', { learnSigma: true }, 'predicts a velocity and no variance; leave learnSigma out'],
    [
      'a class token',
      { classTokenWidth: 8 },
      'predicts the image alone; a class token (REG) is not for a model with this head',
    ],
  ]
  test.each(WRONG)('%s', (_, options, message) => {
    expect(() => tiny(options)).toThrow(message)
  })
})

describe('what a file tells of it', () => {
  const shapesOf = (model: SiT) => new Map(model.entries.map(({ name, shape }) => [name, shape]))
  test.each([
    ['as RAE has it', { alignDepth: 2 }],
    ['with norms of queries and keys, and projectors', { qkNorm: true, alignWidths: [10], alignDepth: 2 }],
    ['with an MLP', { ffn: 'mlp', alignDepth: 2 }],
  ] as const)('%s', (_, options) => {
    using model = tiny(options as More)
    // Of a model without projectors nothing tells their width.
    expect({ ...inferTransformerConfig(shapesOf(model), 'weights.pt'), projectorWidth: 24 }).toEqual({
      classTokenWidth: undefined,
      ...model.config,
    })
  })

  test('a head as wide as the trunk: where it begins cannot be told', () => {
    using model = tiny({ ddtHead: { depth: 1, hidden: 32, heads: 2 } })
    expect(() => inferTransformerConfig(shapesOf(model), 'weights.pt')).toThrow(
      "weights.pt has a DDT head as wide as its trunk, 32, and nothing tells which of its 3 blocks are the head's; take a checkpoint of a run.",
    )
  })

  test('without rotary positions: its heads cannot be told', () => {
    using model = tiny({ rope: false })
    expect(() => inferTransformerConfig(shapesOf(model), 'weights.pt', { heads: 2 })).toThrow(
      'weights.pt has a DDT head without rotary positions or norms of queries and keys, and nothing tells its attention heads; take a checkpoint of a run.',
    )
  })
})

describe("the first values are RAE's", () => {
  // PyTorch's own are uniform within 1/√(what a layer reads), weights and biases alike.
  const layers = [
    ...['blocks.0.attn.qkv 32', 'blocks.1.attn.proj 32', 'blocks.0.mlp.w12 32', 'blocks.1.mlp.w3 85'],
    ...[
      'blocks.2.attn.qkv 48',
      'blocks.3.attn.proj 48',
      'blocks.2.mlp.w12 48',
      'blocks.3.mlp.w3 128',
      's_projector 32',
    ],
  ]
  const uniform = [
    ...layers.flatMap((layer) => [layer.replace(' ', '.weight '), layer.replace(' ', '.bias ')]),
    ...['t_embedder.mlp.0.bias 512', 't_embedder.mlp.2.bias 32'],
  ]

  test.each(uniform)('%s', async (layer) => {
    const [name, fanIn] = layer.split(' ') as [string, string]
    using model = tiny()
    const entry = model.entries.find((each) => each.name === name)!
    using view = model.arena.view('weights', entry)
    const values = await view.data()
    const bound = 1 / Math.sqrt(Number(fanIn))
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    expect(largest).toBeLessThanOrEqual(Math.fround(bound))
    // Of 32 values, the fewest here, none is beyond half of the bound once in 2^32.
    expect(largest).toBeGreaterThan(bound / 2)
    const squares = values.reduce((sum, value) => sum + value * value, 0) / values.length
    // Their mean is bound²/3, with a deviation of 2 bound²/√45 over √n.
    expect(Math.abs(squares / bound ** 2 - 1 / 3)).toBeLessThan((5 * 2) / Math.sqrt(45 * values.length))
  })

  test('and zeros where it has zeros', async () => {
    using model = tiny()
    for (const name of ['x_embedder.proj.bias', 's_embedder.proj.bias', 'blocks.3.adaLN_modulation.1.weight']) {
      using view = model.arena.view('weights', model.entries.find((each) => each.name === name)!)
      expect((await view.data()).every((value) => value === 0)).toBe(true)
    }
  })
})

/** Terms of each inner product on the way to an output: what one element went through. */
const blockTerms = (width: number, ffn: number) => width + TOKENS + 16 + width + width + ffn + 6 * width
const FORWARD = 2 * 8 + 2 * blockTerms(32, 85) + 32 + 2 * blockTerms(48, 128) + 48 + 3 * 512

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    let liveBytes: number
    beforeEach(() => {
      liveBytes = memoryStats(device).liveBytes
    })
    afterEach(() => {
      expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(liveBytes)
    })

    const x = random([BATCH, CHANNELS, SIDE, SIDE], 1)
    const t = fromValues([BATCH], [0.125, 0.5, 0.875])
    const labels = [0, 4, 2]
    const target = random([BATCH, CHANNELS, SIDE, SIDE], 2)
    const batch = { x, t, labels, target }
    const CASES: readonly (readonly [string, More])[] = [
      ['as RAE has it', {}],
      ['with norms of queries and keys', { qkNorm: true }],
      ['a head as wide as the trunk', { ddtHead: { depth: 1, hidden: 32, heads: 4 } }],
      ["of SiT's blocks", { norm: 'layerNorm', ffn: 'mlp', rope: false }],
    ]
    const reference = (weights: ReadonlyMap<string, NdArray>, { config }: SiT) => {
      const files = new Map(weights)
      for (const name of ['x_embedder', 's_embedder']) {
        const { shape, data } = weights.get(`${name}.proj.weight`)!
        files.set(`${name}.proj.weight`, fromValues([shape[0]!, CHANNELS, 2, 2], data))
      }
      const { patch, depth, heads, qkNorm, ddtHead } = config
      const lightning = config.norm === 'rmsNorm'
      return ditDhForward(files, { patch, depth, heads, head: ddtHead!, lightning, qkNorm }, x, t, labels)
    }

    test.each(CASES)('%s: velocity and gradients are those of the float64 reference', async (_, options) => {
      using model = tiny({ ...options, device })
      // The adaLN-zero start makes every block the identity.
      scatterWeights(model, 0.15)
      const output = await velocityStep(model, batch, 'none')
      const exact = reference(await weightsOf(model), model).velocity
      expectClose('velocity', output, exact, { atol: FORWARD * 2 ** -24 * largestOf(exact), rtol: 0 })
      const loss = (weights: ReadonlyMap<string, NdArray>) =>
        referenceLoss(reference(weights, model).velocity, target).loss
      // Tokens enter the head without positions, so that its first norm sees small ones.
      await expectDerivatives(model, loss, 2 * FORWARD, 2e-5)
    })

    test('what leaves its trunk is what is shown of it', async () => {
      using model = tiny({ device })
      scatterWeights(model, 0.15)
      const exact = reference(await weightsOf(model), model).trunk
      using hidden = scope(() => {
        const ids = Tensor.from(Int32Array.from(labels), [BATCH], device)
        return model.hiddenStates(uploaded(x, device), uploaded(t, device), ids, 2)
      })
      const actual = fromValues(hidden.shape, await hidden.data())
      expectClose('trunk', actual, exact, { atol: FORWARD * 2 ** -24 * largestOf(exact), rtol: 0 })
    })

    test('what a tape computes again has the same bits', async () => {
      const bits = async (recompute: Recomputation) => {
        using model = tiny({ qkNorm: true, device })
        scatterWeights(model, 0.15)
        return await stepBits(model, batch, recompute)
      }
      expect(await bits('elementwise')).toEqual(await bits('none'))
    })
  })
}
