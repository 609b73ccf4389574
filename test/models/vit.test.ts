import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { normalizedInput } from '../../src/alignment/preprocessing.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { IMAGENET } from '../../src/models/image-normalisation.ts'
import { PositionTable } from '../../src/models/position-table.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { type VisionTransformerOptions, visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { DINOV2_PRESETS } from '../../src/models/vit-presets.ts'
import { openWeights } from '../../src/models/weights-file.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { joinTokens } from '../../src/tensor/ops/tokens.ts'
import { Parameter } from '../../src/tensor/parameter.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { expectClose, fromValues, type NdArray } from '../reference/array.ts'
import { type GoldenFile, goldenDirectory, goldenFiles } from '../reference/golden.ts'
import { formulaWeights } from './formula-weights.ts'

const golden = (path: string) => join(goldenDirectory!, path)

/** The reference constructor's arguments, as the manifest gives them. */
const Arguments = z.object({
  params: z.string().optional(),
  formula: z.string().optional(),
  layers: z.array(z.int()).optional(),
  config: z
    .object({
      img_size: z.int(),
      patch_size: z.int(),
      embed_dim: z.int(),
      depth: z.int(),
      num_heads: z.int(),
      ffn_layer: z.enum(['mlp', 'swiglufused']),
      num_register_tokens: z.int(),
      interpolate_antialias: z.boolean(),
      interpolate_offset: z.number(),
    })
    .transform((config) =>
      visionTransformerConfigSchema.parse({
        imageSize: config.img_size,
        patch: config.patch_size,
        hidden: config.embed_dim,
        depth: config.depth,
        heads: config.num_heads,
        ffn: config.ffn_layer === 'mlp' ? 'mlp' : 'swiglu',
        registers: config.num_register_tokens,
        interpolation: { antialias: config.interpolate_antialias, offset: config.interpolate_offset },
      }),
    ),
})

async function readAll(path: string): Promise<Map<string, HostTensor>> {
  await using file = await SafetensorsFile.open(golden(path))
  return await file.readAll()
}

async function goldenModel(file: GoldenFile): Promise<VisionTransformer> {
  const { config, params, formula } = Arguments.parse(file.args)
  const model = VisionTransformer.fromConfig(config, 'cpu')
  if (params !== undefined) {
    await using weights = await openWeights(golden(params))
    await model.load(weights)
  } else {
    await model.load(formulaWeights(golden(formula!)))
  }
  return model
}

const valuesOf = async (tensor: Tensor): Promise<NdArray> => fromValues(tensor.shape, await tensor.data())

const expectedOf = (tensors: ReadonlyMap<string, HostTensor>, name: string): NdArray => {
  const { shape, data } = tensors.get(name)!
  return fromValues(shape, new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4))
}

/** Tokens 0, step, 2·step, … of [B, T, D]. */
function everyToken({ shape, data }: NdArray, step: number): NdArray {
  const [batch, tokens, width] = shape as [number, number, number]
  const kept = Array.from({ length: batch * tokens }, (_, row) => row).filter((row) => (row % tokens) % step === 0)
  return fromValues(
    [batch, Math.ceil(tokens / step), width],
    kept.flatMap((row) => [...data.subarray(row * width, (row + 1) * width)]),
  )
}

/** The table [1, 1 + T, D] that is added to an image of a grid. */
async function positionsOf(
  table: PositionTable,
  grid: readonly [number, number],
  interpolation: { antialias: boolean; offset: number },
): Promise<NdArray> {
  using classEntry = table.classEntry()
  const patches = scope(() => table.patchEntries(grid, interpolation).alias())
  const [tokens, width] = patches.shape
  const all = [...(await classEntry.data()), ...(await patches.data())]
  patches.dispose()
  return fromValues([1, 1 + tokens!, width!], all)
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

describe.skipIf(!goldenDirectory)('DINOv2 agrees with the reference PyTorch code', () => {
  const OUTPUTS = {
    x_norm_clstoken: 'clsToken',
    x_norm_regtokens: 'registerTokens',
    x_norm_patchtokens: 'patchTokens',
    x_prenorm: 'prenorm',
  } as const

  test.each(goldenFiles('dinov2.forward').map((file) => [file.path, file] as const))('%s', async (path, file) => {
    const tensors = await readAll(path)
    using model = await goldenModel(file)
    using x = Tensor.fromHostTensor(tensors.get('x')!, 'cpu')
    const output = model.forward(x)
    for (const name of file.names('output')) {
      const tensor = output[OUTPUTS[name as keyof typeof OUTPUTS]]!
      expectClose(name, await valuesOf(tensor), expectedOf(tensors, name), file.tolerance(name))
    }
    expect(output.registerTokens === undefined).toBe(model.config.registers === 0)

    const grid = [x.shape[2]! / model.config.patch, x.shape[3]! / model.config.patch] as const
    expectClose(
      'pos_embed_used',
      await positionsOf(model.positions, grid, model.config.interpolation),
      expectedOf(tensors, 'pos_embed_used'),
      file.tolerance('pos_embed_used'),
    )

    using patches = model.patchFeatures(x)
    expect(await patches.data()).toEqual(await output.patchTokens.data())
    using all = model.patchFeatures(x, { classToken: true })
    using joined = scope(() => {
      const { clsToken, patchTokens } = output
      return joinTokens(clsToken!.reshape([clsToken!.shape[0]!, 1, model.config.hidden]), patchTokens)
    })
    expect(all.shape).toEqual(joined.shape)
    expect(await all.data()).toEqual(await joined.data())
    for (const tensor of Object.values(output)) tensor?.dispose()
  })

  test.each(goldenFiles('dinov2.intermediate').map((file) => [file.path, file] as const))('%s', async (path, file) => {
    const tensors = await readAll(path)
    using model = await goldenModel(file)
    using x = Tensor.fromHostTensor(tensors.get('x')!, 'cpu')
    const layers = Arguments.parse(file.args).layers!
    for (const asked of [layers, layers.length]) {
      const taken = model.intermediateLayers(x, asked)
      expect(taken).toHaveLength(layers.length)
      for (const [i, { patchTokens, clsToken }] of taken.entries()) {
        for (const [part, tensor] of [
          ['patch', patchTokens],
          ['cls', clsToken!],
        ] as const) {
          const name = `layer${layers[i]}.${part}`
          expectClose(name, await valuesOf(tensor), expectedOf(tensors, name), file.tolerance(name))
          tensor.dispose()
        }
      }
    }
  })

  test.each(goldenFiles('table.pos-resample').map((file) => [file.path, file] as const))(
    'tables resampled as REPA does: %s',
    async (path, file) => {
      const tensors = await readAll(path)
      for (const name of file.names('output')) {
        const { shape, data } = tensors.get(name.replace('out', 'in'))!
        using values = Tensor.from(new Float32Array(data.buffer, data.byteOffset), shape.slice(1), 'cpu')
        const parameter = new Parameter('pos_embed', shape.slice(1))
        parameter.bind(values)
        const table = new PositionTable(parameter)
        const expected = expectedOf(tensors, name)
        const side = Math.sqrt(expected.shape[1]! - 1)
        const resampled = await positionsOf(table, [side, side], { antialias: true, offset: 0 })
        table.clear()
        expectClose(name, resampled, expected, file.tolerance(name))
      }
    },
  )

  test.each(goldenFiles('formula.dinov2-repa-teacher').map((file) => [file.path, file] as const))(
    'as REPA runs its teacher, at full size: %s',
    async (path, file) => {
      const tensors = await readAll(path)
      using model = await goldenModel(file)
      const { data, shape } = tensors.get('image_u8')!
      using image = Tensor.from(data, shape, 'cpu')
      const repa = { antialias: true, offset: 0 }
      const compare = (name: string, actual: NdArray) =>
        expectClose(name, actual, expectedOf(tensors, name), file.tolerance(name))

      using input = normalizedInput(image, [224, 224], IMAGENET)
      using planes = input.reshape([3, 224, 224])
      const rows = await valuesOf(planes)
      compare('preprocessed_rows', fromValues([1, 3, 14, 224], everyToken(rows, 16).data))
      compare('pos_embed_rows', everyToken(await positionsOf(model.positions, [16, 16], repa), 16))

      const output = model.forward(input, { interpolation: repa })
      compare('x_norm_clstoken', await valuesOf(output.clsToken!))
      compare('x_norm_patchtokens', everyToken(await valuesOf(output.patchTokens), 4))
      for (const tensor of Object.values(output)) tensor?.dispose()
    },
  )

  test.each(['vit', 'vit-reg4', 'vit-swiglu'])('the state dict of %s: names and shapes', async (name) => {
    const [file] = goldenFiles('dinov2.forward').filter(({ path }) => path === `dinov2/${name}.56x56.safetensors`)
    using model = await goldenModel(file!)
    const params = await readAll(`dinov2/${name}.params.safetensors`)
    expect(new Map(model.entries.map((entry) => [entry.name, entry.shape]))).toEqual(
      new Map([...params].map(([key, { shape }]) => [key, shape])),
    )
  })

  test('the state dict of dinov2reg-vit-s: names in their order, and shapes', () => {
    using model = VisionTransformer.fromConfig(
      visionTransformerConfigSchema.parse(DINOV2_PRESETS['dinov2reg-vit-s']),
      'cpu',
    )
    const table = formulaWeights(golden('formula/dinov2-vits14-reg.table.json'))
    expect(model.entries.map(({ name, shape }) => [name, shape])).toEqual(
      [...table.names].map((name) => [name, table.shapeOf(name)]),
    )
  })
})

describe('VisionTransformer', () => {
  const SIZES = [
    { name: 'dinov2-vit-s', width: 384, depth: 12 },
    { name: 'dinov2-vit-b', width: 768, depth: 12 },
    { name: 'dinov2-vit-l', width: 1024, depth: 24 },
    { name: 'dinov2-vit-g', width: 1536, depth: 40 },
  ] as const
  test.each(SIZES)('the published state dict of $name: names, order and shapes', ({ name, width: d, depth }) => {
    const ffn: [string, number[]][] =
      name === 'dinov2-vit-g'
        ? [
            ['mlp.w12.weight', [8192, d]],
            ['mlp.w12.bias', [8192]],
            ['mlp.w3.weight', [d, 4096]],
            ['mlp.w3.bias', [d]],
          ]
        : [
            ['mlp.fc1.weight', [4 * d, d]],
            ['mlp.fc1.bias', [4 * d]],
            ['mlp.fc2.weight', [d, 4 * d]],
            ['mlp.fc2.bias', [d]],
          ]
    const block: [string, number[]][] = [
      ['norm1.weight', [d]],
      ['norm1.bias', [d]],
      ['attn.qkv.weight', [3 * d, d]],
      ['attn.qkv.bias', [3 * d]],
      ['attn.proj.weight', [d, d]],
      ['attn.proj.bias', [d]],
      ['ls1.gamma', [d]],
      ['norm2.weight', [d]],
      ['norm2.bias', [d]],
      ...ffn,
      ['ls2.gamma', [d]],
    ]
    const expected = [
      ['cls_token', [1, 1, d]],
      ['pos_embed', [1, 1370, d]],
      ['mask_token', [1, d]],
      ['patch_embed.proj.weight', [d, 3, 14, 14]],
      ['patch_embed.proj.bias', [d]],
      ...Array.from({ length: depth }, (_, i) => block.map(([key, shape]) => [`blocks.${i}.${key}`, shape])).flat(),
      ['norm.weight', [d]],
      ['norm.bias', [d]],
    ]
    const entries = VisionTransformer.entriesOf(visionTransformerConfigSchema.parse(DINOV2_PRESETS[name]))
    expect(entries.map((entry) => [entry.name, entry.shape])).toEqual(expected)
  })

  test('the hidden width of DINOv2-g is 4096', () => {
    expect(visionTransformerConfigSchema.parse(DINOV2_PRESETS['dinov2-vit-g']).ffnWidth).toBe(4096)
  })

  const tiny = { imageSize: 28, patch: 7, hidden: 32, depth: 3, heads: 2 }

  test.each([
    [{ ...tiny, heads: 5 }, "the model's configuration: heads is 5: 5 heads do not divide the hidden width 32."],
    [
      { ...tiny, hidden: 512 },
      "the model's configuration: heads is 2: gives a head_dim of 256; at most 128 is supported.",
    ],
    [{ ...tiny, head: 2 }, 'the model\'s configuration: there is no setting "head".'],
    ['dinov2-vit-x', 'There is no model "dinov2-vit-x": expected one of dinov2-vit-s, '],
    // What every object has.
    ['constructor', 'There is no model "constructor": expected one of dinov2-vit-s, '],
  ])('%j is refused in a sentence', (model, sentence) => {
    const create = () => VisionTransformer.create(model as VisionTransformerOptions)
    expect(create).toThrow(expect.objectContaining({ message: expect.stringMatching(/^(the|There) /) }))
    expect(create).toThrow(sentence)
  })

  test('a table is resampled once for each grid and way, and anew after the weights change', async () => {
    using model = VisionTransformer.create(tiny, { seed: 1 })
    const own = model.config.interpolation
    const first = model.positions.patchEntries([3, 5], own)
    expect(model.positions.patchEntries([3, 5], own)).toBe(first)
    expect(model.positions.patchEntries([3, 5], { antialias: true, offset: 0 })).not.toBe(first)
    // Of as many tokens.
    expect(model.positions.patchEntries([5, 3], own)).not.toBe(first)
    const before = await first.data()
    model.initialise(2)
    expect(await model.positions.patchEntries([3, 5], own).data()).not.toEqual(before)
  })

  test('intermediate layers without the norm are what leaves the blocks', async () => {
    using model = VisionTransformer.create({ ...tiny, registers: 2 }, { seed: 3 })
    using image = Tensor.full([2, 3, 14, 21], 0.5, 'cpu')
    const output = model.forward(image)
    const taken = model.intermediateLayers(image, [2, 0], { norm: false })
    expect(taken.map(({ patchTokens }) => patchTokens.shape)).toEqual([
      [2, 6, 32],
      [2, 6, 32],
    ])
    const prenorm = await output.prenorm.data()
    expect(await taken[1]!.clsToken!.data()).toEqual(
      Float32Array.from([...prenorm.subarray(0, 32), ...prenorm.subarray(9 * 32, 10 * 32)]),
    )
    for (const tensor of [...Object.values(output), ...taken.flatMap((layer) => Object.values(layer))])
      tensor?.dispose()
  })

  const FAILURES: readonly {
    what: string
    run: (model: VisionTransformer, image: Tensor) => unknown
    message: string
  }[] = [
    {
      what: 'an image that is no multiple of the patch',
      run: (model) => {
        using image = Tensor.zeros([1, 3, 28, 30], 'cpu')
        return model.forward(image)
      },
      message: 'the image has shape [1,3,28,30]; expected [B, 3, H, W] with H and W multiples of the patch, 7',
    },
    {
      what: 'a layer that does not exist',
      run: (model, image) => model.intermediateLayers(image, [3]),
      message: 'there is no block 3; the model has blocks 0 to 2',
    },
    {
      what: 'more layers than there are',
      run: (model, image) => model.intermediateLayers(image, 4),
      message: 'there is no block -1',
    },
  ]
  test.each(FAILURES)('$what is an error', ({ run, message }) => {
    using model = VisionTransformer.create(tiny)
    using image = Tensor.zeros([1, 3, 28, 28], 'cpu')
    expect(() => run(model, image)).toThrow(message)
  })
})
