import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import type { Observe } from '../../src/models/adaln-block.ts'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { assumedConvention, assumedHeads, inferTransformerConfig } from '../../src/models/infer-transformer.ts'
import { sinCosPositions } from '../../src/models/positions.ts'
import { SIT_PRESETS, type SiTPreset } from '../../src/models/presets.ts'
import { parseSiTConfig, SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { TransformerConfig } from '../../src/models/transformer-config.ts'
import { memoryStats, synchronize, trimMemory } from '../../src/tensor/device.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { randomNormal, randomUniform } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Program } from '../end-to-end/program.ts'
import { goldenFiles, goldenTensors } from '../reference/golden.ts'

const SIZES = { depth: 3, hidden: 64, heads: 4, patch: 2 } as const
const OPTIONS = { channels: 3, inputSize: [8, 8] as [number, number], classes: 5, projectorWidth: 48 }
const tiny = (options: Partial<Omit<SiTOptions, 'kind'>> & { seed?: number } = {}) =>
  SiT.create(SIZES, { ...OPTIONS, ...options })

async function stateOf(model: SiT): Promise<Map<string, Float32Array>> {
  const state = new Map<string, Float32Array>()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    state.set(entry.name, toFloat32(await view.toHost()))
  }
  return state
}

function forward(
  model: SiT,
  { batch = 3, project = false, observe }: { batch?: number; project?: boolean; observe?: Observe } = {},
) {
  const { channels, inputSize, classes } = model.config
  using x = randomNormal([batch, channels, ...inputSize], { seed: 5, stream: 'noise', step: 0 }, model.device)
  using t = randomUniform([batch], { seed: 5, stream: 'timesteps', step: 0 }, model.device)
  using labels = Tensor.from(
    Int32Array.from({ length: batch }, (_, i) => i % classes),
    [batch],
    model.device,
  )
  return model.forward(x, t, labels, { project, observe })
}

/** The reference constructor's arguments, as the golden manifest gives them. */
const Reference = z.object({
  of: z.literal('sit'),
  config: z
    .object({
      input_size: z.int(),
      patch_size: z.int(),
      in_channels: z.int(),
      hidden_size: z.int(),
      encoder_depth: z.int(),
      depth: z.int(),
      num_heads: z.int(),
      class_dropout_prob: z.number(),
      num_classes: z.int(),
      z_dims: z.array(z.int()),
      projector_dim: z.int(),
      qk_norm: z.boolean(),
    })
    .transform((config) =>
      parseSiTConfig({
        kind: 'SiT',
        depth: config.depth,
        hidden: config.hidden_size,
        heads: config.num_heads,
        patch: config.patch_size,
        inputSize: [config.input_size, config.input_size],
        channels: config.in_channels,
        classes: config.num_classes,
        qkNorm: config.qk_norm,
        classDropout: config.class_dropout_prob,
        alignDepth: config.encoder_depth,
        alignWidths: config.z_dims,
        projectorWidth: config.projector_dim,
      }),
    ),
})

const officialStates = goldenFiles('params').flatMap(({ path, args, gradOrder }) => {
  const parsed = Reference.safeParse(args)
  return parsed.success ? [{ path, config: parsed.data.config, gradOrder }] : []
})

describe.skipIf(officialStates.length === 0)('the reference implementation', () => {
  test.each(officialStates)('has the names, shapes and order of $path', ({ path, config, gradOrder }) => {
    const official = goldenTensors(path)
    const entries = transformerEntries(config)
    expect(new Map(entries.map(({ name, shape }) => [name, shape]))).toEqual(
      new Map([...official].map(([name, { shape }]) => [name, shape])),
    )
    // The files are sorted by name; the order of the state dict is that of its gradients, which the frozen positions lack.
    if (gradOrder.length > 0) expect(entries.map(({ name }) => name)).toEqual(['pos_embed', ...gradOrder])
  })

  test.each(officialStates)('its state dict $path tells the configuration', ({ path, config }) => {
    const shapes = new Map([...goldenTensors(path)].map(([name, { shape }]) => [name, shape]))
    expect(inferTransformerConfig(shapes, path, { heads: config.heads })).toEqual({
      ...config,
      alignDepth: Math.min(8, config.depth),
    })
  })
})

describe('initialisation', () => {
  // Bounds of Xavier's uniform distribution, from the table of the reference's shapes: √(6 / (fan in + fan out)).
  const xavier = (...fans: [number, number]) => ({ uniform: Math.sqrt(6 / (fans[0] + fans[1])) })
  const gaussian = { deviation: 0.02 }
  const zero = { constant: 0 }
  const one = { constant: 1 }
  const cases: readonly (readonly [RegExp, { uniform: number } | { deviation: number } | { constant: number }])[] = [
    [/^x_embedder\.proj\.weight$/, xavier(64, 12)],
    [/^t_embedder\.mlp\.\d\.weight$/, gaussian],
    [/^y_embedder\.embedding_table\.weight$/, gaussian],
    [/attn\.[qk]_norm\.weight$/, one],
    [/attn\.qkv\.weight$/, xavier(3 * 64, 64)],
    [/attn\.proj\.weight$/, xavier(64, 64)],
    [/mlp\.fc[12]\.weight$/, xavier(64, 256)],
    [/^projectors\.0\.0\.weight$/, xavier(64, 48)],
    [/^projectors\.0\.2\.weight$/, xavier(48, 48)],
    [/^projectors\.0\.4\.weight$/, xavier(48, 32)],
    [/adaLN_modulation\.1\.(weight|bias)$/, zero],
    [/^final_layer\.linear\.(weight|bias)$/, zero],
    [/\.bias$/, zero],
  ]

  test('gives every tensor its distribution', async () => {
    using model = tiny({ qkNorm: true, alignWidths: [32], alignDepth: 2 })
    for (const [name, values] of await stateOf(model)) {
      if (name === 'pos_embed') {
        expect(values).toEqual(sinCosPositions(64, 4, 4))
        continue
      }
      const expected = cases.find(([pattern]) => pattern.test(name))![1]
      if ('constant' in expected) {
        expect(
          values.every((value) => value === expected.constant),
          name,
        ).toBe(true)
        continue
      }
      const n = values.length
      const mean = values.reduce((sum, value) => sum + value, 0) / n
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / n)
      const wanted = 'uniform' in expected ? expected.uniform / Math.sqrt(3) : expected.deviation
      // Five standard errors; the smallest tensor here has 320 numbers.
      expect(Math.abs(mean), `mean of ${name}`).toBeLessThan((5 * wanted) / Math.sqrt(n))
      expect(Math.abs(deviation / wanted - 1), `deviation of ${name}`).toBeLessThan(5 / Math.sqrt(2 * n))
      if ('uniform' in expected) {
        const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
        expect(largest, name).toBeLessThanOrEqual(Math.fround(expected.uniform))
        // Of n uniform draws, all stay below this with a probability of e⁻²⁰.
        expect(largest, name).toBeGreaterThan(expected.uniform * (1 - 20 / n))
      }
    }
  })

  test('no two tensors share random numbers', async () => {
    using model = tiny()
    const state = await stateOf(model)
    const firsts = ['blocks.0.attn.proj.weight', 'blocks.1.attn.proj.weight', 'blocks.2.attn.proj.weight'].map(
      (name) => state.get(name)![0],
    )
    expect(new Set(firsts).size).toBe(3)
  })

  test('the prediction is exactly 0, whatever goes in, and the projections are not', async () => {
    using model = tiny({ alignWidths: [32], alignDepth: 2 })
    const { prediction, projections } = forward(model, { project: true })
    const values = await prediction.data()
    expect(prediction.shape).toEqual([3, 3, 8, 8])
    expect(values.every((value) => value === 0)).toBe(true)
    expect(projections.map(({ shape }) => shape)).toEqual([[3, 16, 32]])
    expect((await projections[0]!.data()).every((value) => Number.isFinite(value) && value !== 0)).toBe(true)
    for (const tensor of [prediction, ...projections]) tensor.dispose()
  })

  test('depends on the seed alone: the same bits for every instruction set', async () => {
    // A process each, for a process has one level.
    const script = `
      import { createHash } from 'node:crypto'
      import { SiT } from './dist/models/sit.js'
      const model = SiT.create(${JSON.stringify(SIZES)}, ${JSON.stringify({ ...OPTIONS, seed: 7 })})
      console.log(createHash('sha256').update(await model.arena.array('weights').dataAs('f32')).digest('hex'))`
    await using program = await Program.build()
    const digests = new Set<string>()
    for (const level of ['portable', 'avx2', 'avx512']) {
      const { status, stdout, stderr } = await program.script(script, { REPA_CPU_LEVEL: level })
      if (stderr.includes('REPA_CPU_LEVEL')) continue
      expect(stderr).toBe('')
      expect(status).toBe(0)
      digests.add(stdout)
    }
    expect(digests.size).toBe(1)
  })

  test('the same seed gives the same weights, another seed others', async () => {
    const digest = async (seed: number) => {
      using model = tiny({ seed })
      return createHash('sha256')
        .update(await model.arena.array('weights').dataAs('f32'))
        .digest('hex')
    }
    expect(await digest(7)).toBe(await digest(7))
    expect(await digest(7)).not.toBe(await digest(8))
  })
})

describe('projectors', () => {
  test('are added and taken away without touching any other weight', async () => {
    using model = tiny({ seed: 3 })
    const before = await stateOf(model)
    model.align({ widths: [32, 16], depth: 2 })
    expect(model.config).toMatchObject({ alignWidths: [32, 16], alignDepth: 2 })
    const aligned = await stateOf(model)
    for (const [name, values] of before) expect(aligned.get(name), name).toEqual(values)
    expect([...aligned.keys()].filter((name) => !before.has(name))).toEqual(
      [0, 1].flatMap((k) => [0, 2, 4].flatMap((i) => [`projectors.${k}.${i}.weight`, `projectors.${k}.${i}.bias`])),
    )
    const { prediction, projections } = forward(model, { project: true })
    expect(projections.map(({ shape }) => shape)).toEqual([
      [3, 16, 32],
      [3, 16, 16],
    ])
    for (const tensor of [prediction, ...projections]) tensor.dispose()
    model.align({ widths: [], depth: 2 })
    expect(await stateOf(model)).toEqual(before)
  })

  test('have the values that a model made with them has', async () => {
    using late = tiny({ seed: 3 })
    late.align({ widths: [32], depth: 2, seed: 3 })
    using early = tiny({ seed: 3, alignWidths: [32], alignDepth: 2 })
    expect(await stateOf(late)).toEqual(await stateOf(early))
  })

  test('an encoder after a block that does not exist is refused, and the model stays as it was', () => {
    using model = tiny()
    expect(() => model.align({ widths: [32], depth: 4 })).toThrow(
      "the model's configuration: alignDepth is 4: block 4 does not exist in a model of 3 blocks.",
    )
    expect(model.config.alignWidths).toEqual([])
  })
})

describe('a configuration that cannot be', () => {
  const cases: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ patch: 3 }, 'patch is 3: a patch of 3 does not divide an input of 8 x 8.'],
    [{ inputSize: [8, 9] }, 'patch is 2: a patch of 2 does not divide an input of 8 x 9.'],
    [{ heads: 5 }, 'heads is 5: 5 heads do not divide the hidden width 64.'],
    [{ hidden: 512, heads: 2 }, 'heads is 2: gives a head_dim of 256; at most 128 is supported.'],
    [
      { hidden: 56, rope: true },
      'rope is true: turns pairs of rows and pairs of columns, and a head_dim of 14 is no multiple of 4.',
    ],
    [{ hidden: 66, heads: 3 }, 'hidden is 66: must be a multiple of 4 (sine-cosine positions).'],
    [{ alignWidths: [8], alignDepth: 9 }, 'alignDepth is 9: block 9 does not exist in a model of 3 blocks.'],
    [{ depht: 3 }, 'there is no setting "depht"; did you mean "depth"?'],
    [{ qknorm: true }, 'there is no setting "qknorm"; did you mean "qkNorm"?'],
    [{ depth: 0 }, 'depth is 0: expected number to be >0.'],
    [{ classDropout: 2 }, 'classDropout is 2: expected number to be <=1.'],
    [{ channels: 2.5 }, 'channels is 2.5: expected int.'],
  ]

  test.each(cases)('%j: %s', (change, sentence) => {
    const config = { kind: 'SiT', ...SIZES, ...OPTIONS, ...change }
    expect(() => parseSiTConfig(config)).toThrow(new ConfigurationError(`the model's configuration: ${sentence}`))
  })

  test('SiT.create says the same', () => {
    expect(() => SiT.create({ ...SIZES, heads: 5 }, OPTIONS)).toThrow(/^the model's configuration: heads is 5: 5 heads/)
    expect(() => SiT.create('SiT-M/2' as SiTPreset)).toThrow(/^There is no model "SiT-M\/2": expected one of SiT-S\/2,/)
  })
})

describe('inferTransformerConfig', () => {
  const base = { kind: 'SiT', ...SIZES, ...OPTIONS } as const
  const shapesOf = (config: TransformerConfig) =>
    new Map(transformerEntries(config).map(({ name, shape }) => [name, shape]))

  test.each<Partial<SiTOptions>>([
    {},
    { qkNorm: true },
    { alignWidths: [32, 24] },
    { alignWidths: [32], classTokenWidth: 32 },
    { norm: 'rmsNorm' },
    { norm: 'rmsNorm', qkNorm: true },
    { ffn: 'swiglu' },
    { rope: true },
    { convention: 'sit', norm: 'rmsNorm', ffn: 'swiglu', rope: true },
    { convention: 'sit', norm: 'rmsNorm', ffn: 'swiglu', rope: true, classTokenWidth: 32 },
    // Widths of SwiGLU that are two thirds of no whole number, and a whole part of them.
    { ffn: 'swiglu', hidden: 28, heads: 2 },
    { ffn: 'swiglu', hidden: 44, heads: 4, mlpRatio: 15.5 / 44 },
    { ffn: 'swiglu', hidden: 20, heads: 2, mlpRatio: 3 },
    { classes: 1 },
    { patch: 4, channels: 4 },
    // Widths that the division by `hidden` would round down by one.
    { hidden: 28, heads: 2, mlpRatio: 61.5 / 28 },
    { hidden: 44, heads: 4, mlpRatio: 15.5 / 44 },
  ])('tells %j from the shapes', (change) => {
    const config = parseSiTConfig({ ...base, alignDepth: 3, ...change })
    // Norms of queries and keys say the heads, and so do rotary positions.
    const heads = config.qkNorm || config.rope ? {} : { heads: config.heads }
    const inferred = inferTransformerConfig(shapesOf(config), 'a file', heads)
    expect(shapesOf(inferred)).toEqual(shapesOf(config))
    expect(inferred).toEqual({
      ...config,
      // What no shape tells has the reference's value.
      mlpRatio: inferred.mlpRatio,
      projectorWidth: config.alignWidths.length > 0 ? config.projectorWidth : 2048,
      alignDepth: Math.min(8, config.depth),
    })
  })

  test.each([
    ['SiT-S/2', 6],
    ['SiT-XL/2', 16],
  ] as const)('knows the heads of %s: %i', (preset, heads) => {
    const config = parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...SIT_PRESETS[preset] })
    const shapes = shapesOf(config)
    const inferred = inferTransformerConfig(shapes, 'a file')
    expect(inferred).toMatchObject({ heads, classes: 1000, inputSize: [32, 32] })
    expect(assumedHeads(shapes, 'a file', inferred, {})).toBeUndefined()
  })

  test.each<readonly [Partial<SiTOptions>, { heads?: number }, string | undefined]>([
    [{}, {}, 'a file does not tell how many attention heads it has: 1 assumed'],
    [{}, { heads: 4 }, undefined],
    [{ qkNorm: true }, {}, undefined],
  ])('of %j, given %j, says that heads are assumed: %s', (change, known, sentence) => {
    const shapes = shapesOf(parseSiTConfig({ ...base, ...change }))
    const said = assumedHeads(shapes, 'a file', inferTransformerConfig(shapes, 'a file', known), known)
    expect(said?.split(',')[0]).toBe(sentence)
  })

  test.each<readonly [Partial<SiTOptions>, { convention?: 'repa' }, string, boolean]>([
    [{ norm: 'rmsNorm', ffn: 'swiglu', rope: true }, {}, 'sit', true],
    [{ norm: 'rmsNorm', ffn: 'swiglu', rope: true }, { convention: 'repa' }, 'repa', false],
    [{ norm: 'rmsNorm', ffn: 'swiglu' }, {}, 'repa', false],
    [{}, {}, 'repa', false],
  ])(
    "of %j, given %j, time runs by %s's convention, and whether that is said: %s",
    (change, given, convention, said) => {
      const shapes = shapesOf(parseSiTConfig({ ...base, ...change }))
      const known = { heads: 4, ...given }
      const inferred = inferTransformerConfig(shapes, 'a file', known)
      expect(inferred).toMatchObject({ convention })
      const sentence = assumedConvention(shapes, 'a file', inferred, known)
      if (said)
        expect(sentence).toMatch(/^a file is taken for a LightningDiT, whose time runs from noise at 0 to data at 1: /)
      else expect(sentence).toBeUndefined()
    },
  )

  test('names what is missing, and what does not add up', () => {
    const shapes = shapesOf(parseSiTConfig(base))
    const without = new Map([...shapes].filter(([name]) => name !== 'pos_embed'))
    expect(() => inferTransformerConfig(without, 'a.pt')).toThrow(
      'a.pt is not the state dict of a SiT or a DiT: it has no tensor pos_embed.',
    )
    expect(() => inferTransformerConfig(shapes, 'a.pt', { heads: 5 })).toThrow(
      'a.pt: heads is 5: 5 heads do not divide the hidden width 64.',
    )
  })
})

describe('memory', () => {
  test('is all given back, also after the averaged weights were in use', async () => {
    await synchronize('cpu')
    const before = memoryStats('cpu').liveBytes
    {
      using model = tiny({ alignWidths: [32], alignDepth: 2 })
      model.arena.array('ema')
      model.arena.use('ema')
      model.arena.use('weights')
      const { prediction } = forward(model)
      await prediction.data()
      prediction.dispose()
      model.align({ widths: [], depth: 2 })
    }
    await synchronize('cpu')
    expect(memoryStats('cpu').liveBytes).toBe(before)
  })

  test('of a block and of the final layer is given back before what comes next', () => {
    using model = tiny({ depth: 4 })
    const live: number[] = []
    const observe = (name: string) => {
      if (/^(blocks\.\d|final_layer)$/.test(name)) live.push(memoryStats('cpu').liveBytes)
    }
    // A free block that is there already may be a little larger than what is asked for.
    trimMemory('cpu')
    using _ = forward(model, { observe }).prediction
    // Of every block the stream and what is read of it [3, 16, 64]; of the final layer the tokens [3, 16, 12] in place of the latter.
    const [first] = live as [number]
    expect(live).toEqual([first, first, first, first, first + 4 * 3 * 16 * (12 - 64)])
  })

  test('after dispose every use says so', () => {
    const model = tiny()
    model.dispose()
    expect(() => forward(model)).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }))
  })
})

test('parameterCount counts the state dict, frozen positions included', () => {
  using model = tiny()
  const expected = transformerEntries(model.config).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  expect(model.parameterCount).toBe(expected)
})
