import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { dinov2 } from '../../src/alignment/dinov2.ts'
import { ENCODER_NAMES } from '../../src/alignment/encoder-names.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { normalizedInput } from '../../src/alignment/preprocessing.ts'
import { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { type WritableTorchValue, writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { IMAGENET } from '../../src/models/image-normalisation.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { type VisionTransformerOptions, visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { DINOV2_PRESETS } from '../../src/models/vit-presets.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { type HostTensor, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { formulaWeights } from '../models/formula-weights.ts'
import { expectClose, fromValues, randomIntegers } from '../reference/array.ts'
import { goldenDirectory, goldenFiles } from '../reference/golden.ts'

const TINY = { imageSize: 56, hidden: 48, depth: 2, heads: 2 } satisfies VisionTransformerOptions

type State = Map<string, HostTensor>

async function stateOf(options: VisionTransformerOptions): Promise<State> {
  using model = VisionTransformer.create(options, { seed: 5 })
  const state: State = new Map()
  for (const entry of model.entries) {
    using view = model.arena.view('weights', entry)
    state.set(entry.name, { ...(await view.toHost()), shape: entry.shape })
  }
  return state
}

/** Zeros under the names and shapes of a standard size. */
function emptyState(name: keyof typeof DINOV2_PRESETS): State {
  using model = VisionTransformer.fromConfig(visionTransformerConfigSchema.parse(DINOV2_PRESETS[name]), 'cpu')
  return new Map(
    model.entries.map(({ name, shape }) => [
      name,
      { dtype: 'f32' as const, shape, data: new Uint8Array(4 * elementCount(shape)) },
    ]),
  )
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'repa-encoders-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

async function writePth(value: WritableTorchValue): Promise<string> {
  const path = join(await folder(), 'weights.pth')
  await writeTorchCheckpoint(path, value)
  return path
}

async function writeTensors(state: State, metadata: Record<string, string> = {}): Promise<string> {
  const path = join(await folder(), 'weights.safetensors')
  await writeSafetensors(
    path,
    [...state].map(([name, tensor]) => ({ name, ...tensor })),
    { metadata },
  )
  return path
}

const renamed = (state: State, rename: (name: string) => string): State =>
  new Map([...state].map(([name, tensor]) => [rename(name), tensor]))

const without = (state: State, name: string): State => new Map([...state].filter(([key]) => key !== name))

function photos(batch: number, size: readonly [height: number, width: number]): Tensor {
  const shape = [batch, 3, ...size]
  return Tensor.from(Uint8Array.from(randomIntegers(elementCount(shape), 256, 11)), shape, 'cpu')
}

async function featuresOf(
  name: string,
  file: string | undefined,
  images: Tensor,
  grid: readonly [number, number],
  options: { heads?: number } = {},
): Promise<{ shape: readonly number[]; values: Float32Array }> {
  using encoder = await loadEncoder(name, file, options)
  using features = encoder.features(images, grid)
  expect(features.shape[2]).toBe(encoder.width)
  return { shape: features.shape, values: await features.data() }
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

describe('features', () => {
  const INPUTS = [
    { size: [64, 64], grid: [4, 4] },
    { size: [256, 256], grid: [16, 16] },
    { size: [56, 56], grid: [4, 4] },
    { size: [48, 80], grid: [3, 5] },
    { size: [32, 32], grid: [1, 2] },
  ] as const
  const ENCODERS = [
    { name: 'hog', options: undefined, width: 128 },
    { name: 'dinov2-vit-s', options: TINY, width: 48 },
    { name: 'dinov2reg-vit-b', options: { ...TINY, registers: 4, ffn: 'swiglu' as const }, width: 48 },
  ] as const
  const cases = ENCODERS.flatMap((encoder) => INPUTS.map((input) => ({ ...encoder, ...input })))

  test.each(cases)('$name: images of $size on a grid of $grid', async ({ name, options, width, size, grid }) => {
    const file = options && (await writePth(await stateOf(options)))
    using images = photos(2, size)
    const { shape, values } = await featuresOf(name, file, images, grid, { heads: 2 })
    expect(shape).toEqual([2, grid[0] * grid[1], width])
    expect(values.every(Number.isFinite)).toBe(true)
    // Two images, two answers; and no two tokens alike.
    expect(new Set(values.filter((_, i) => i % width === 0)).size).toBeGreaterThan(1)
  })
})

describe('the way REPA runs its teacher', () => {
  test.each(goldenFiles('formula.dinov2-repa-teacher').map((file) => [file.path, file] as const))(
    '%s',
    async (path, file) => {
      const model = VisionTransformer.create('dinov2reg-vit-s')
      using encoder = new VisionEncoder(dinov2, 'dinov2reg-vit-s', model)
      await model.load(formulaWeights(join(goldenDirectory!, String(file.args.formula))))
      await using tensors = await SafetensorsFile.open(join(goldenDirectory!, path))
      const image = await tensors.read('image_u8')
      using images = Tensor.from(image.data, image.shape, 'cpu')
      using features = encoder.features(images, [16, 16])
      const values = await features.data()
      // The file holds every fourth token.
      const everyFourth = values.filter((_, i) => Math.floor(i / 384) % 4 === 0)
      const expected = fromValues([1, 64, 384], toFloat32(await tensors.read('x_norm_patchtokens')))
      const tolerance = file.tolerance('x_norm_patchtokens')
      expectClose('x_norm_patchtokens', fromValues([1, 64, 384], everyFourth), expected, tolerance)
    },
  )

  test("without registers, too, the table is resampled with antialias, which is not DINOv2's own way", async () => {
    const model = VisionTransformer.create(TINY, { seed: 6 })
    using encoder = new VisionEncoder(dinov2, 'dinov2-vit-s', model)
    using images = photos(1, [64, 64])
    using features = encoder.features(images, [3, 3])
    using input = normalizedInput(images, [42, 42], IMAGENET)
    using expected = model.patchFeatures(input, { interpolation: { antialias: true, offset: 0 } })
    using own = model.patchFeatures(input)
    expect(await features.data()).toEqual(await expected.data())
    expect(await features.data()).not.toEqual(await own.data())
  })
})

describe('files of DINOv2 weights', () => {
  const heads = { heads: 2 }
  /** A checkpoint of the reference's training: blocks in two chunks, heads of its losses beside the backbone. */
  const trained = (state: State) =>
    new Map([
      ...renamed(state, (name) => `backbone.${name.replace(/^blocks\.(\d)\./, 'blocks.$1.$1.')}`),
      ['dino_head.mlp.0.weight', state.get('cls_token')!] as const,
    ])
  const FORMS: readonly { what: string; write: (state: State) => Promise<string> }[] = [
    { what: '.safetensors', write: (state) => writeTensors(state) },
    { what: '.pth with the state dict under "model"', write: (state) => writePth({ model: state, epoch: 3 }) },
    { what: '.pth of a data-parallel model', write: (state) => writePth(renamed(state, (name) => `module.${name}`)) },
    { what: '.pth of a teacher in chunks', write: (state) => writePth({ teacher: trained(state) }) },
    {
      what: '.pth of student and teacher',
      write: (state) =>
        writePth({
          model: new Map([
            ...renamed(state, (name) => `student.backbone.${name}`),
            ...renamed(state, (name) => `teacher.backbone.${name}`),
          ]),
        }),
    },
  ]

  test.each(FORMS)('$what gives the features of the plain .pth', async ({ write }) => {
    const state = await stateOf({ ...TINY, registers: 4 })
    using images = photos(1, [64, 64])
    const plain = await featuresOf('dinov2reg-vit-s', await writePth(state), images, [3, 4], heads)
    expect(await featuresOf('dinov2reg-vit-s', await write(state), images, [3, 4], heads)).toEqual(plain)
  })

  const SIZES: readonly {
    what: string
    options: VisionTransformerOptions
    name: string
    heads: number
    metadata: boolean
  }[] = [
    { what: 'whose metadata states the heads', options: TINY, name: 'dinov2-vit-s', heads: 2, metadata: true },
    {
      what: 'of a width that is a multiple of 64',
      options: { ...TINY, hidden: 128 },
      name: 'dinov2-vit-g',
      heads: 2,
      metadata: false,
    },
    {
      what: 'of another table and patch',
      options: { hidden: 384, depth: 1, heads: 6, patch: 16, imageSize: 224 },
      name: 'dinov2-vit-s',
      heads: 6,
      metadata: false,
    },
  ]
  test.each(SIZES)('a size of its own $what is accepted, with a notice', async ({ options, name, heads, metadata }) => {
    const config = JSON.stringify({ embed_dim: options.hidden, num_heads: heads, block_chunks: 0 })
    const file = await writeTensors(await stateOf(options), metadata ? { config } : {})
    const notices: string[] = []
    using encoder = await loadEncoder(name, file, { onNotice: (message) => notices.push(message) })
    expect(encoder.width).toBe(options.hidden)
    expect(notices).toHaveLength(1)
    expect(notices[0]).toMatch(`weights.safetensors is not the standard ${name} (`)
    expect(notices[0]).toContain(`width ${options.hidden}, depth ${options.depth}, ${heads} heads`)
  })

  test('a standard size gives no notice', async () => {
    const notices: string[] = []
    using encoder = await loadEncoder('dinov2-vit-s', await writeTensors(emptyState('dinov2-vit-s')), {
      onNotice: (message) => notices.push(message),
    })
    expect(encoder.width).toBe(384)
    expect(notices).toEqual([])
  })

  test.skipIf(!goldenDirectory)('the golden file is accepted, its heads and interpolation as stated', async () => {
    const notices: string[] = []
    using encoder = await loadEncoder('dinov2-vit-s', join(goldenDirectory!, 'dinov2/vit.params.safetensors'), {
      onNotice: (message) => notices.push(message),
    })
    expect(encoder.width).toBe(48)
    expect(notices[0]).toContain('vit.params.safetensors is not the standard dinov2-vit-s')
  })

  const config = (fields: Record<string, unknown>) => ({ config: JSON.stringify(fields) })
  const WRONG: readonly {
    what: string
    name?: string
    heads?: number
    write: () => Promise<string>
    message: string | RegExp
  }[] = [
    {
      what: 'another standard size',
      name: 'dinov2-vit-b',
      write: async () => writeTensors(emptyState('dinov2-vit-s')),
      message:
        /holds dinov2-vit-s \(width 384, .*pos_embed \[1, 1370, 384\]\), not dinov2-vit-b \(width 768, .*pos_embed \[1, 1370, 768\]\); name the encoder dinov2-vit-s, or pass the file of dinov2-vit-b\./,
    },
    {
      what: 'registers where the name has none',
      write: async () => writeTensors(emptyState('dinov2reg-vit-s')),
      message: 'name the encoder dinov2reg-vit-s',
    },
    {
      what: 'a width that tells no number of heads',
      write: async () => writePth(await stateOf(TINY)),
      message:
        'its width of 48 is no multiple of 64, so the number of heads cannot be told; pass it as the option `heads`',
    },
    {
      what: 'heads that do not divide the width',
      heads: 5,
      write: async () => writePth(await stateOf(TINY)),
      message: 'heads is 5: 5 heads do not divide the hidden width 48',
    },
    {
      what: 'heads other than the metadata states',
      heads: 4,
      write: async () => writeTensors(await stateOf(TINY), config({ num_heads: 2 })),
      message: 'its metadata states 2 heads, but heads: 4 was asked for',
    },
    {
      what: 'metadata that contradicts the tensors',
      write: async () => writeTensors(await stateOf(TINY), config({ num_heads: 2, depth: 12 })),
      message: 'its metadata states depth 12, but its tensors have 2',
    },
    {
      what: 'metadata of the wrong kind',
      write: async () => writeTensors(await stateOf(TINY), config({ num_heads: 'two' })),
      message: /metadata "config": num_heads is "two"/,
    },
    {
      what: 'metadata that is not JSON',
      write: async () => writeTensors(await stateOf(TINY), { config: 'ViT-S' }),
      message: 'metadata "config" is not JSON',
    },
    {
      what: 'a tensor that is missing',
      heads: 2,
      write: async () => writePth(without(await stateOf(TINY), 'blocks.1.ls2.gamma')),
      message: 'does not fit the model: blocks.1.ls2.gamma [48] is missing',
    },
    {
      what: 'a tensor too many',
      heads: 2,
      write: async () => {
        const state = await stateOf(TINY)
        return writePth(new Map([...state, ['head.weight', state.get('cls_token')!]]))
      },
      message: 'does not fit the model: head.weight is not in the model',
    },
    {
      what: 'a table of no square grid',
      heads: 2,
      write: async () => {
        const state = await stateOf(TINY)
        const table = { dtype: 'f32' as const, shape: [1, 12, 48], data: new Uint8Array(4 * 12 * 48) }
        return writePth(new Map([...state, ['pos_embed', table]]))
      },
      message: 'pos_embed has 12 entries; expected one for the class token and those of a square grid',
    },
    {
      what: 'tensors of another model',
      write: async () => writePth({ weight: (await stateOf(TINY)).get('cls_token')! }),
      message: 'holds no DINOv2 weights: it has no cls_token with a pos_embed beside it. It has weight.',
    },
    {
      what: 'a backbone without its patch embedding',
      heads: 2,
      write: async () => writePth(without(await stateOf(TINY), 'patch_embed.proj.weight')),
      message: 'holds no DINOv2 weights: patch_embed.proj.weight was looked for, and it is missing',
    },
    {
      what: 'the names of the Transformers library',
      write: async () =>
        writePth(
          renamed(await stateOf(TINY), (name) => `embeddings.${name.replace('pos_embed', 'position_embeddings')}`),
        ),
      message: 'names its tensors as the Transformers library does; expected the file that DINOv2 publishes',
    },
    {
      what: 'a checkpoint without a state dict',
      write: async () => writePth({ epoch: 3, optimizer: { lr: 0.1 } }),
      message: 'is no state dict (a dictionary of tensors by name); there is epoch (3), optimizer (dictionary of 1)',
    },
    {
      what: 'a safetensors file under the other name',
      write: async () => {
        const path = join(await folder(), 'weights.pth')
        await writeSafetensors(
          path,
          [...(await stateOf(TINY))].map(([name, tensor]) => ({ name, ...tensor })),
        )
        return path
      },
      message: 'it looks like a safetensors file',
    },
    {
      what: 'a text file',
      write: async () => {
        const path = join(await folder(), 'weights.safetensors')
        await writeFile(path, 'These are not weights.')
        return path
      },
      message: 'this is no safetensors file',
    },
    {
      what: 'no file at all',
      write: async () => join(await folder(), 'weights.pth'),
      message:
        /^There is no .*weights\.pth, which is to hold the weights of the encoder dinov2-vit-s; the published one is https:.*dinov2_vits14_pretrain\.pth\. Give the path at which it lies\.$/,
    },
  ]
  test.each(WRONG)('$what is an error', async ({ name = 'dinov2-vit-s', heads, write, message }) => {
    const file = await write()
    await expect(loadEncoder(name, file, heads === undefined ? {} : { heads })).rejects.toThrow(message)
  })
})

describe('names', () => {
  const WRONG = [
    {
      name: 'dinov2-vit-bb',
      message: 'There is no encoder "dinov2-vit-bb"; did you mean dinov2-vit-b? The encoders are hog, ',
    },
    { name: 'DINOv2-ViT-L', message: 'did you mean dinov2-vit-l?' },
    { name: 'resnet', message: 'There is no encoder "resnet". The encoders are hog, vit, dinov2-vit-s, ' },
    { name: 'toString', message: 'There is no encoder "toString". ' },
    { name: 'mae-vit-b', message: 'did you mean mae-vit-l?' },
    { name: 'clip-vit-l', message: 'did you mean clip-vit-L?' },
    { name: 'siglip-so400m', message: 'did you mean siglip-vit-so400m?' },
    { name: 'mocov3-resnet-50', message: 'There is no encoder "mocov3-resnet-50"' },
  ]
  test.each(WRONG)('$name is an error', async ({ name, message }) => {
    const loading = loadEncoder(name, 'weights.pth')
    await expect(loading).rejects.toBeInstanceOf(ConfigurationError)
    await expect(loading).rejects.toThrow(message)
  })

  const FILES: Readonly<Record<string, string>> = {
    'dinov2-vit-g': '/dinov2_vitg14/dinov2_vitg14_pretrain.pth.',
    'dinov2reg-vit-s': '/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth.',
    'dinov1-vit-b': '/dino_vitbase16_pretrain.pth.',
    'mocov3-vit-s': '/vit-s-300ep.pth.tar.',
    'mae-vit-l': '/mae_pretrain_vit_large.pth.',
    'clip-vit-L': '/ViT-L-14.pt.',
    vit: 'vit=RUN/encoder.safetensors, as repa pretrain-encoder writes it',
    'jepa-vit-h': '/IN1K-vit.h.14-300e.pth.tar.',
    'siglip-vit-b': '/google/siglip-base-patch16-256/resolve/main/model.safetensors.',
    'siglip-vit-l': '/google/siglip-large-patch16-256/resolve/main/model.safetensors.',
    'siglip-vit-so400m': '/google/siglip-so400m-patch14-224/resolve/main/model.safetensors.',
  }
  test.each(ENCODER_NAMES.filter((name) => name !== 'hog'))(
    '%s without a file is an error that says which',
    async (name) => {
      await expect(loadEncoder(name)).rejects.toThrow(`The encoder ${name} needs the file of its weights`)
      await expect(loadEncoder(name)).rejects.toThrow(FILES[name] ?? 'https://')
    },
  )

  test('hog with a file is an error', async () => {
    await expect(loadEncoder('hog', 'weights.pth')).rejects.toThrow(
      'is built in and takes no file; weights.pth was given',
    )
  })
})
