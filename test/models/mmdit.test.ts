/** What an MMDiT is made of, as REPA's mmdit.py has it, and what a file of its weights tells. */
import { describe, expect, test } from 'vitest'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { DiT } from '../../src/models/dit.ts'
import { assumedConvention, assumedHeads, inferTransformerConfig } from '../../src/models/infer-transformer.ts'
import { MMDIT_PRESETS, type MMDiTPreset } from '../../src/models/presets.ts'
import { parseSiTConfig, SiT, type SiTOptions } from '../../src/models/sit.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { sinCosPosEmbed } from '../reference/pos-embed.ts'

type More = Partial<Omit<SiTOptions, 'kind'>> & { seed?: number }
const SIZES = { depth: 3, hidden: 32, heads: 4, patch: 2 } as const
const OPTIONS = { inputSize: [6, 6] as [number, number], channels: 2, classes: 0, projectorWidth: 24 }
const tiny = (options: More = {}) => SiT.create(SIZES, { ...OPTIONS, text: { tokens: 5, width: 20 }, ...options })

test("the state dict has mmdit.py's names, shapes and order", () => {
  using model = tiny({ alignWidths: [10], alignDepth: 2, selfAlignment: true })
  const linear = (name: string, output: number, input: number) => [
    `${name}.weight ${output},${input}`,
    `${name}.bias ${output}`,
  ]
  const stream = (name: string) => [
    ...[...linear(`${name}.attn.qkv`, 96, 32), ...linear(`${name}.attn.proj`, 32, 32)],
    ...[...linear(`${name}.mlp.fc1`, 128, 32), ...linear(`${name}.mlp.fc2`, 32, 128)],
    ...linear(`${name}.adaLN_modulation.1`, 192, 32),
  ]
  const block = (i: number) => [...stream(`joint_blocks.${i}.context_block`), ...stream(`joint_blocks.${i}.x_block`)]
  expect(model.entries.map(({ name, shape }) => `${name} ${shape}`)).toEqual([
    'pos_embed 1,9,32',
    ...['x_embedder.proj.weight 32,2,2,2', 'x_embedder.proj.bias 32'],
    ...[...linear('t_embedder.mlp.0', 32, 256), ...linear('t_embedder.mlp.2', 32, 32)],
    ...linear('context_embedder', 32, 20),
    ...[...block(0), ...block(1)],
    // Nothing reads the text behind the last block's attention.
    ...linear('joint_blocks.2.context_block.attn.qkv', 96, 32),
    ...linear('joint_blocks.2.context_block.adaLN_modulation.1', 64, 32),
    ...stream('joint_blocks.2.x_block'),
    ...[...linear('final_layer.linear', 8, 32), ...linear('final_layer.adaLN_modulation.1', 64, 32)],
    ...['projectors.0.0.weight 24,32', 'projectors.0.0.bias 24'],
    ...['projectors.0.2.weight 24,24', 'projectors.0.2.bias 24'],
    ...['projectors.0.4.weight 10,24', 'projectors.0.4.bias 10'],
    // SRA's, which mmdit.py does not have.
    ...[...linear('ap_head.linear1', 64, 32), ...linear('ap_head.linear2', 32, 64)],
  ])
  // A buffer of torch's, which an optimizer's state does not count.
  expect(model.entries.filter(({ isBuffer }) => isBuffer).map(({ name }) => name)).toEqual(['pos_embed'])
  expect(model.entries.filter(({ parameter }) => !parameter.trainable).map(({ name }) => name)).toEqual(['pos_embed'])
})

describe('first values', () => {
  const valuesOf = async (options: More) => {
    using model = tiny(options)
    const shapes = new Map(model.entries.map(({ name, shape }) => [name, shape]))
    const values = new Map<string, Float32Array>()
    for (const entry of model.entries) {
      using view = model.arena.view('weights', entry)
      values.set(entry.name, toFloat32(await view.toHost()))
    }
    return { shapes, values }
  }

  test("are PyTorch's own, even over ±1/√inputs of weights and biases alike", async () => {
    const { shapes, values } = await valuesOf({ alignWidths: [10], alignDepth: 2 })
    for (const [name, own] of values) {
      if (name === 'pos_embed') continue
      const [, ...inputs] = shapes.get(name.replace(/bias$/, 'weight'))!
      const fanIn = elementCount(inputs)
      const bound = 1 / Math.sqrt(fanIn)
      const most = own.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
      // The bound itself is rounded to f32.
      expect(most, name).toBeLessThanOrEqual(bound * (1 + 2 ** -23))
      expect(own.filter((value) => value === 0).length, name).toBeLessThan(own.length / 100)
      // Of n draws none is beyond 1 − 20/n of the bound with a probability of e⁻²⁰; few biases are that many.
      if (own.length > 40) expect(most, name).toBeGreaterThan(bound * (1 - 20 / own.length))
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length
      // Six deviations of a mean of draws of variance bound²/3.
      expect(Math.abs(mean), name).toBeLessThan((6 * bound) / Math.sqrt(3 * own.length))
    }
  })

  test('differ by the seed, but for the positions, which are those of the grid', async () => {
    const [one, same, other] = [await valuesOf({ seed: 1 }), await valuesOf({ seed: 1 }), await valuesOf({ seed: 2 })]
    expect(same.values).toEqual(one.values)
    for (const [name, own] of one.values) {
      if (name !== 'pos_embed') expect(other.values.get(name), name).not.toEqual(own)
    }
    const expected = Float32Array.from(sinCosPosEmbed(32, 3).data)
    for (const { values } of [one, other]) {
      for (const [i, value] of values.get('pos_embed')!.entries()) {
        expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2 ** -23)
      }
    }
  })
})

describe('settings that do not go together', () => {
  const reason = 'goes with classes; leave it out of a model of text'
  const captions = 'a model of text has captions in their place; let it be 0'
  const WRONG: readonly (readonly [string, More, string])[] = [
    ['classes', { classes: 10 }, `classes is 10: ${captions}`],
    ['classes that were left out', { classes: undefined }, `classes is missing: ${captions}`],
    ['a norm with weights', { norm: 'rmsNorm' }, `norm is "rmsNorm": ${reason}`],
    ['SwiGLU', { ffn: 'swiglu' }, `ffn is "swiglu": ${reason}`],
    ['rotary positions', { rope: true }, `rope is true: ${reason}`],
    ['norms of queries and keys', { qkNorm: true }, `qkNorm is true: ${reason}`],
    [
      'a DDT head',
      { ddtHead: { depth: 1, hidden: 16, heads: 2 } },
      `ddtHead is {"depth":1,"hidden":16,"heads":2}: ${reason}`,
    ],
    ['a class token', { classTokenWidth: 8 }, `classTokenWidth is 8: ${reason}`],
    ['a variance', { learnSigma: true }, `learnSigma is true: ${reason}`],
    ['a width of no numbers', { text: { tokens: 5, width: 0 } }, 'text.width is 0'],
    [
      'what is no setting of text',
      { text: { tokens: 5, states: 20 } as never },
      'there is no setting "states" in text',
    ],
    [
      'neither classes nor text',
      { text: undefined },
      'classes is 0: the model takes no text either; give it a class at least, or `text`.',
    ],
  ]
  test.each(WRONG)('%s', (_, options, message) => {
    expect(() => tiny(options)).toThrow(message)
  })

  test('a DiT of text', () => {
    expect(() => DiT.create(SIZES, { ...OPTIONS, text: { tokens: 5, width: 20 } } as never)).toThrow(
      'there is no setting "text"',
    )
  })

  test('text is of 77 states of 768 where nothing else is said, as CLIP makes them', () => {
    const { text } = parseSiTConfig({ kind: 'SiT', ...SIZES, ...OPTIONS, text: {} })
    expect(text).toEqual({ tokens: 77, width: 768 })
  })
})

describe('what a file tells of it', () => {
  const shapesOf = (config: SiT['config']) =>
    new Map(transformerEntries(config).map(({ name, shape }) => [name, shape]))
  const configOf = (options: Partial<SiTOptions> = {}) =>
    parseSiTConfig({
      kind: 'SiT',
      ...SIZES,
      ...OPTIONS,
      hidden: 96,
      heads: 3,
      text: { tokens: 77, width: 20 },
      alignDepth: 3,
      ...options,
    })

  test.each<readonly [string, Partial<SiTOptions>]>([
    ['plain', {}],
    ['with projectors', { alignWidths: [10, 6] }],
    ['with a convolution, and an MLP of another width', { alignWidths: [10], projector: 'conv', mlpRatio: 1.25 }],
    ["with SRA's head", { selfAlignment: true }],
    ['of another patch and other channels', { patch: 1, channels: 5 }],
  ])('%s', (_, options) => {
    const config = configOf(options)
    const inferred = inferTransformerConfig(shapesOf(config), 'weights.pt')
    const { alignWidths, projector, projectorWidth } = config
    // Of a model without an MLP that projects nothing tells its width.
    const told = alignWidths.length > 0 && projector === 'mlp'
    expect({ ...inferred, projectorWidth: told ? inferred.projectorWidth : projectorWidth }).toEqual(config)
  })

  test.each(Object.keys(MMDIT_PRESETS) as MMDiTPreset[])('%s is found again', (preset) => {
    const config = parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...MMDIT_PRESETS[preset], alignWidths: [768] })
    const shapes = shapesOf(config)
    const inferred = inferTransformerConfig(shapes, 'weights.pt')
    expect(inferred).toEqual(config)
    expect(assumedHeads(shapes, 'weights.pt', inferred, {})).toBeUndefined()
    expect(assumedConvention(shapes, 'weights.pt', inferred, {})).toBeUndefined()
  })

  test('what shapes do not tell is taken from who knows it, or said to be assumed', () => {
    const shapes = shapesOf(configOf({ hidden: 128, heads: 8 }))
    const inferred = inferTransformerConfig(shapes, 'weights.pt')
    expect(inferred.heads).toBe(2)
    expect(assumedHeads(shapes, 'weights.pt', inferred, {})).toBe(
      'weights.pt does not tell how many attention heads it has: 2 assumed, one for every 64 features; `heads` sets it.',
    )
    const known = inferTransformerConfig(shapes, 'weights.pt', { heads: 8, kind: 'SiT', convention: 'sit' })
    expect(known).toMatchObject({ kind: 'SiT', heads: 8, convention: 'sit' })
  })

  test('it is no DiT', () => {
    expect(() => inferTransformerConfig(shapesOf(configOf()), 'weights.pt', { kind: 'DiT' })).toThrow(
      'weights.pt embeds text, as no DiT does; take it for a SiT.',
    )
  })

  test.each(['pos_embed', 'x_embedder.proj.weight', 'joint_blocks.0.x_block.mlp.fc1.weight'])('no %s', (name) => {
    const shapes = shapesOf(configOf())
    shapes.delete(name)
    expect(() => inferTransformerConfig(shapes, 'weights.pt')).toThrow(
      `weights.pt embeds text and is no MMDiT's state dict: it has no tensor ${name}.`,
    )
  })
})
