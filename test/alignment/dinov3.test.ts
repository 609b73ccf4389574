import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { dinov3 } from '../../src/alignment/dinov3.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import type { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { DINOV3_PRESETS } from '../../src/models/vit-presets.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random, randomIntegers } from '../reference/array.ts'
import { authorsFile, timmFile, transformersFile, withPeriods } from './dinov3-files.ts'
import type { Checkpoint, Weights } from './published-files.ts'

const HIDDEN = 16
const HEADS = 2

/** A model of one block under its authors' names, plain or of SwiGLU. */
function weightsOf({ swiglu = false, hidden = HIDDEN } = {}): Weights {
  const weights = new Map<string, NdArray>()
  const add = (name: string, ...shape: readonly number[]) => weights.set(name, random(shape, 10 + weights.size, 0.5))
  add('cls_token', 1, 1, hidden)
  add('register_tokens', 1, 4, hidden)
  add('patch_embed.proj.weight', hidden, 3, 16, 16)
  add('patch_embed.proj.bias', hidden)
  const norm = (name: string) => ['weight', 'bias'].forEach((kind) => void add(`${name}.${kind}`, hidden))
  const dense = (name: string, output: number, input: number) => {
    add(`${name}.weight`, output, input)
    add(`${name}.bias`, output)
  }
  norm('blocks.0.norm1')
  dense('blocks.0.attn.qkv', 3 * hidden, hidden)
  dense('blocks.0.attn.proj', hidden, hidden)
  add('blocks.0.ls1.gamma', hidden)
  norm('blocks.0.norm2')
  for (const first of swiglu ? ['w1', 'w2'] : ['fc1']) dense(`blocks.0.mlp.${first}`, 24, hidden)
  dense(`blocks.0.mlp.${swiglu ? 'w3' : 'fc2'}`, hidden, 24)
  add('blocks.0.ls2.gamma', hidden)
  norm('norm')
  return weights
}

async function write(checkpoint: Checkpoint): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'repa-dinov3-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'weights.pth')
  await writeTorchCheckpoint(path, checkpoint)
  return path
}

const load = async (checkpoint: Checkpoint) =>
  loadEncoder('dinov3-vit-s16', await write(checkpoint), { heads: HEADS }) as Promise<VisionEncoder>

const photo = Uint8Array.from(randomIntegers(3 * 32 ** 2, 256, 7))

async function featuresOf(checkpoint: Checkpoint): Promise<NdArray> {
  using encoder = await load(checkpoint)
  using images = Tensor.from(photo, [1, 3, 32, 32], 'cpu')
  using features = encoder.features(images, [2, 2])
  return fromValues(features.shape, await features.data())
}

const only = <T>(state: ReadonlyMap<string, T>, kept: (name: string) => boolean): Map<string, T> =>
  new Map([...state].filter(([name]) => kept(name)))

describe('files of DINOv3', () => {
  test("a file's own periods are taken", async () => {
    using stated = await load(withPeriods(authorsFile(weightsOf()), [1, 3]))
    expect(stated.model.config.rope?.periods).toEqual([1, 3])
    using silent = await load(authorsFile(weightsOf()))
    expect(silent.model.config.rope?.periods).toEqual([1, 10])
  })

  test.each([false, true])('the same features whoever wrote the file, of SwiGLU: %s', async (swiglu) => {
    const weights = weightsOf({ swiglu })
    const expected = await featuresOf(authorsFile(weights))
    expect(await featuresOf(transformersFile(weights))).toEqual(expected)
    expect(await featuresOf(timmFile(weights))).toEqual(expected)
  })

  test('without biases of queries and values they are 0', async () => {
    const weights = weightsOf()
    const zero = new Map(weights).set('blocks.0.attn.qkv.bias', random([3 * HIDDEN], 1, 0))
    const bare = only(timmFile(weights), (name) => !/\.attn\.[qv]_bias$/.test(name))
    expect(await featuresOf(bare)).toEqual(await featuresOf(authorsFile(zero)))
    expect(await featuresOf(bare)).not.toEqual(await featuresOf(authorsFile(weights)))
  })

  const norm = (width: number): [string, HostTensor] => [
    'local_cls_norm.weight',
    hostFloat32(new Float32Array(width), [width]),
  ]
  const REFUSED: readonly { what: string; state: Checkpoint; message: string }[] = [
    {
      what: 'a bias of queries alone',
      state: only(timmFile(weightsOf()), (name) => !name.endsWith('v_bias')),
      message:
        'does not fit the model: blocks.0.attn.qkv.bias [48] is missing; blocks.0.attn.q.bias is not in the model.',
    },
    {
      what: 'one half of SwiGLU',
      state: only(authorsFile(weightsOf({ swiglu: true })), (name) => !name.endsWith('mlp.w2.weight')),
      message: 'holds no DINOv3 weights: blocks.0.mlp.fc1.weight was looked for, and it is missing.',
    },
    {
      what: "satellites'",
      state: new Map([...authorsFile(weightsOf({ hidden: 1024 })), norm(1024)]),
      message:
        'holds the DINOv3 that was trained on satellite images (SAT-493M), which are normalised otherwise; pass dinov3_vitl16_pretrain_',
    },
    {
      what: 'a ConvNeXt',
      state: new Map([['downsample_layers.0.0.weight', norm(2)[1]]]),
      message: 'holds a ConvNeXt; of DINOv3 the vision transformers are encoders here.',
    },
    {
      what: 'another encoder',
      state: new Map([norm(2), ['cls_token', norm(2)[1]]]),
      message:
        'holds no DINOv3 weights: it has no storage_tokens with a cls_token beside it. It has local_cls_norm.weight,',
    },
    {
      what: 'periods that are not of its heads',
      state: withPeriods(authorsFile(weightsOf()), [1, 2, 3]),
      message: 'has 3 periods; expected a quarter of the head_dim 8, 2',
    },
  ]
  test.each(REFUSED)('$what: refused', async ({ state, message }) => {
    await expect(load(state)).rejects.toThrow(message)
  })

  test("the 7B's norm of local crops is not taken for satellites'", () => {
    const file = authorsFile(weightsOf())
    const state = new Map([...file, norm(HIDDEN)])
    const source = { name: 'file', names: [...state.keys()], shapeOf: (name: string) => state.get(name)!.shape }
    const read = async (name: string) => state.get(name)!
    expect(dinov3.state({ ...source, read }).names).not.toContain('local_cls_norm.weight')
  })
})

/** The table of the authors' README, in millions. */
const MILLIONS: Readonly<Partial<Record<keyof typeof DINOV3_PRESETS, number>>> = {
  'dinov3-vit-s16': 21,
  'dinov3-vit-s16plus': 29,
  'dinov3-vit-b16': 86,
  'dinov3-vit-l16': 300,
  'dinov3-vit-h16plus': 840,
  'dinov3-vit-7b16': 6716,
}

test.each(Object.entries(MILLIONS))('%s has %i million parameters', (name, millions) => {
  const config = visionTransformerConfigSchema.parse(DINOV3_PRESETS[name as keyof typeof DINOV3_PRESETS])
  const entries = VisionTransformer.entriesOf(config)
  const count = entries.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  expect(Math.abs(count / 1e6 / millions - 1)).toBeLessThan(0.03)
})

test('an image of any grid is seen as it is: nothing of the model depends on a size', async () => {
  using encoder = await load(authorsFile(weightsOf()))
  for (const grid of [
    [2, 2],
    [1, 3],
    [33, 1],
  ] as const) {
    using images = Tensor.from(new Uint8Array(3 * 16 * 16).fill(9), [1, 3, 16, 16], 'cpu')
    using features = encoder.features(images, grid)
    expect(features.shape).toEqual([1, grid[0] * grid[1], HIDDEN])
  }
})

test('a grid is told from another of as many tokens', async () => {
  using encoder = await load(authorsFile(weightsOf()))
  const features = async (grid: readonly [number, number], model = encoder) => {
    using images = Tensor.from(
      Uint8Array.from({ length: 3 * 16 * 16 }, (_, i) => i % 251),
      [1, 3, 16, 16],
      'cpu',
    )
    using made = model.features(images, grid)
    return made.data()
  }
  await features([3, 1])
  const found = await features([1, 3])
  using fresh = await load(authorsFile(weightsOf()))
  expect(found).toEqual(await features([1, 3], fresh))
})
