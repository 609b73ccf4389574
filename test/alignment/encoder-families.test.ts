import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { ENCODER_FAMILIES } from '../../src/alignment/encoder-families.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { hasNamedSize, VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { type VisionTransformerOptions, visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { VISION_TRANSFORMER_PRESETS, type VisionTransformerPreset } from '../../src/models/vit-presets.ts'
import { vitConfig } from '../../src/models/vit-weights.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { compare, expectClose, fromValues, map, type NdArray, randomIntegers } from '../reference/array.ts'
import { DrawnWeights } from '../reference/drawn-weights.ts'
import { resize } from '../reference/resize.ts'
import { patchFeatures, type ViTReference } from '../reference/vit.ts'
import * as dinov3 from './dinov3-files.ts'
import {
  type Checkpoint,
  dinoFile,
  dinoTrainingFile,
  jepaFile,
  maeFile,
  maeWithDecoderFile,
  mocoFile,
  openaiFile,
  openClipSiglipFile,
  siglipFile,
  siglipTowerFile,
  timmSiglipFile,
  transformersFile,
  type Weights,
  withVocabulary,
} from './published-files.ts'

interface Family {
  readonly name: string
  readonly size: {
    readonly patch: number
    readonly hidden: number
    readonly heads: number
    readonly depth: number
    /** Of the MLP's hidden layer; default 4 · hidden. */
    readonly ffnWidth?: number
    readonly swiglu?: boolean
  }
  readonly how: Omit<ViTReference, 'weights' | 'depth' | 'heads'>
  readonly files: readonly (readonly [what: string, write: (weights: Weights) => Checkpoint])[]
}

const PLAIN = {
  epsilon: 1e-6,
  activation: 'gelu-erf',
  classToken: true,
  preNorm: false,
  finalNorm: true,
  patchBias: true,
} as const

/** 100^(i/4): heads of 16 columns, which four periods turn by the row and four by the column. */
const DINOV3 = { ...PLAIN, epsilon: 1e-5, keyBias: false, rope: { periods: [1, 10 ** 0.5, 10, 10 ** 1.5] } } as const

const SIGLIP = { ...PLAIN, activation: 'gelu-tanh', classToken: false, tableAntialias: false } as const

const DINOV3_FILES: Family['files'] = [
  [
    'dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth',
    (weights) => dinov3.withPeriods(dinov3.authorsFile(weights), DINOV3.rope.periods),
  ],
  ['the same without its periods', dinov3.authorsFile],
  ['a checkpoint of its training', dinov3.trainingFile],
  ['a state dict in the Transformers library’s names', dinov3.transformersFile],
  ['a state dict in timm’s names', dinov3.timmFile],
]

/** As the facts and the families' papers say; sizes are small, but for MoCo's depth, on which its misspelt names depend. */
const FAMILIES: readonly Family[] = [
  {
    name: 'dinov1-vit-b',
    size: { patch: 16, hidden: 48, heads: 3, depth: 2 },
    how: PLAIN,
    files: [
      ['dino_vitbase16_pretrain.pth', dinoFile],
      ['a checkpoint of its training', dinoTrainingFile],
    ],
  },
  {
    name: 'mocov3-vit-l',
    size: { patch: 16, hidden: 32, heads: 2, depth: 15 },
    how: PLAIN,
    files: [['vit-b-300ep.pth.tar', mocoFile]],
  },
  {
    name: 'mae-vit-l',
    size: { patch: 16, hidden: 48, heads: 2, depth: 2 },
    how: { ...PLAIN, finalNorm: false },
    files: [
      ['mae_pretrain_vit_large.pth', maeFile],
      ['mae_visualize_vit_large.pth', maeWithDecoderFile],
    ],
  },
  {
    name: 'clip-vit-L',
    size: { patch: 14, hidden: 48, heads: 2, depth: 2 },
    how: { ...PLAIN, epsilon: 1e-5, activation: 'quick-gelu', preNorm: true, finalNorm: false, patchBias: false },
    files: [
      ['a state dict in OpenAI’s names', openaiFile],
      ['a state dict in the Transformers library’s names', transformersFile],
    ],
  },
  {
    name: 'jepa-vit-h',
    size: { patch: 14, hidden: 80, heads: 1, depth: 2 },
    how: { ...PLAIN, classToken: false },
    files: [['IN1K-vit.h.14-300e.pth.tar', jepaFile]],
  },
  {
    name: 'siglip-vit-l',
    size: { patch: 16, hidden: 48, heads: 2, depth: 2 },
    how: SIGLIP,
    files: [
      ['model.safetensors', siglipFile],
      ['the image tower alone', siglipTowerFile],
      ['open_clip', openClipSiglipFile],
      ['timm', timmSiglipFile],
    ],
  },
  {
    // An eighth of its width, of heads as wide as its.
    name: 'siglip-vit-so400m',
    size: { patch: 14, hidden: 144, heads: 2, depth: 2, ffnWidth: 538 },
    how: SIGLIP,
    files: [['model.safetensors', siglipFile]],
  },
  {
    name: 'dinov3-vit-b16',
    size: { patch: 16, hidden: 48, heads: 3, depth: 2 },
    how: DINOV3,
    files: DINOV3_FILES,
  },
  {
    name: 'dinov3-vit-s16plus',
    size: { patch: 16, hidden: 48, heads: 3, depth: 2, ffnWidth: 72, swiglu: true },
    how: DINOV3,
    files: DINOV3_FILES,
  },
]

/** Side of the position table's grid, and the grid of 60-pixel images on which features are taken. */
const SIDE = 3
const GRID = [4, 4] as const

/** Small in the stream, so that the LayerNorms' epsilon is seen: variances are of the order of 1e-3. */
function weightsOf({ size, how }: Family): Weights {
  const { hidden, depth, patch, ffnWidth = 4 * hidden, swiglu = false } = size
  const drawn = new DrawnWeights(100)
  if (how.classToken) drawn.add('cls_token', [1, 1, hidden], 0.02)
  if (how.rope) drawn.add('register_tokens', [1, 4, hidden], 0.02)
  else drawn.add('pos_embed', [1, SIDE ** 2 + (how.classToken ? 1 : 0), hidden], 0.02)
  drawn.add('patch_embed.proj.weight', [hidden, 3, patch, patch], 0.001)
  if (how.patchBias) drawn.add('patch_embed.proj.bias', [hidden], 0.01)
  if (how.preNorm) drawn.norm('norm_pre', hidden)
  for (let i = 0; i < depth; i++) {
    drawn.norm(`blocks.${i}.norm1`, hidden)
    drawn.dense(`blocks.${i}.attn.qkv`, 3 * hidden, hidden)
    drawn.dense(`blocks.${i}.attn.proj`, hidden, hidden, 0.1)
    drawn.norm(`blocks.${i}.norm2`, hidden)
    for (const first of swiglu ? ['w1', 'w2'] : ['fc1']) drawn.dense(`blocks.${i}.mlp.${first}`, ffnWidth, hidden)
    drawn.dense(`blocks.${i}.mlp.${swiglu ? 'w3' : 'fc2'}`, hidden, ffnWidth, 0.1)
    if (how.rope) for (const branch of ['ls1', 'ls2']) drawn.add(`blocks.${i}.${branch}.gamma`, [hidden], 0.3, 1)
  }
  if (how.finalNorm) drawn.norm('norm', hidden)
  return drawn.weights
}

const BATCH = 2
const PIXELS = 60
const photo = Uint8Array.from(randomIntegers(BATCH * 3 * PIXELS ** 2, 256, 7))

const STATISTICS: Readonly<Record<string, { readonly mean: readonly number[]; readonly std: readonly number[] }>> = {
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  clip: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
  siglip: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
}

/**
 * REPA's preprocess_raw_image in float64, in its own order of steps: CLIP's images are resized first. So are SigLIP's, as its image
 * processor does it, but for the rounding to bytes.
 */
function preprocessed(name: string, patch: number, antialias = name.startsWith('siglip')): NdArray {
  const resizedFirst = /^(clip|siglip)/.test(name)
  const { mean, std } = STATISTICS[/^(clip|siglip)/.exec(name)?.[0] ?? 'imagenet']!
  const unit = map(fromValues([BATCH, 3, PIXELS, PIXELS], photo), (value) => value / 255)
  const normalised = (x: NdArray) => {
    const plane = x.shape[2]! * x.shape[3]!
    return map(x, (value, i) => (value - mean[Math.floor(i / plane) % 3]!) / std[Math.floor(i / plane) % 3]!)
  }
  const fitted = (x: NdArray) => resize(x, GRID[0] * patch, GRID[1] * patch, { method: 'bicubic', antialias })
  return resizedFirst ? normalised(fitted(unit)) : fitted(normalised(unit))
}

async function write(checkpoint: Checkpoint): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'repa-families-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'weights.pth')
  await writeTorchCheckpoint(path, checkpoint)
  return path
}

async function featuresOf(family: Family, path: string): Promise<NdArray> {
  using encoder = await loadEncoder(family.name, path, { heads: family.size.heads })
  using images = Tensor.from(photo, [BATCH, 3, PIXELS, PIXELS], 'cpu')
  using features = encoder.features(images, GRID)
  return fromValues(features.shape, await features.data())
}

/**
 * Half an ulp of the largest number for every term that a feature's longest chain of sums adds up: the patch's elements, and in
 * every block the widths that its four products and its attention sum over.
 */
function tolerance(
  { size: { patch, hidden, depth, ffnWidth = 4 * hidden } }: Family,
  expected: NdArray,
): { atol: number; rtol: number } {
  const terms = 3 * patch ** 2 + depth * (hidden + GRID[0] * GRID[1] + hidden + hidden + ffnWidth)
  const largest = expected.data.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
  return { atol: terms * 2 ** -24 * largest, rtol: 0 }
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

describe.each(FAMILIES)('$name', (family) => {
  const weights = weightsOf(family)
  const input = preprocessed(family.name, family.size.patch)
  const reference: ViTReference = { ...family.how, weights, depth: family.size.depth, heads: family.size.heads }
  const expected = patchFeatures(input, reference)

  test.each(family.files)('the features from %s are those of the float64 reference', async (_, layout) => {
    expectClose(
      'features',
      await featuresOf(family, await write(layout(weights))),
      expected,
      tolerance(family, expected),
    )
  })

  const CHANGES: Readonly<Record<string, Partial<ViTReference>>> = {
    epsilon: { epsilon: family.how.epsilon === 1e-6 ? 1e-5 : 1e-6 },
    ...(family.size.swiglu
      ? {}
      : { activation: { activation: family.how.activation === 'gelu-erf' ? 'quick-gelu' : 'gelu-erf' } }),
    ...(family.how.rope
      ? { 'period of rotary positions': { rope: { periods: [1, 3, 10, 30] } }, 'bias of keys': { keyBias: true } }
      : { 'resampling of the table': { tableAntialias: !(family.how.tableAntialias ?? true) } }),
    ...(family.how.finalNorm ? { 'final norm': { finalNorm: false } } : {}),
    ...(family.how.preNorm ? { 'norm before the blocks': { preNorm: false } } : {}),
    ...(family.how.patchBias ? { 'bias of the patch embedding': { patchBias: false } } : {}),
  }
  test.each(Object.entries(CHANGES))('the bound notices another %s', (_, change) => {
    const other = patchFeatures(input, { ...reference, ...change })
    expect(compare(other, expected, tolerance(family, expected)).close).toBe(false)
  })

  test('the bound notices images that are resized another way', () => {
    const other = preprocessed(family.name, family.size.patch, !family.name.startsWith('siglip'))
    expect(compare(patchFeatures(other, reference), expected, tolerance(family, expected)).close).toBe(false)
  })

  test('a tensor that is missing is named as the model names it', async () => {
    const name = `blocks.1.mlp.${family.size.swiglu ? 'w3' : 'fc2'}.bias`
    const path = await write(family.files[0]![1](new Map([...weights].filter(([key]) => key !== name))))
    await expect(loadEncoder(family.name, path, { heads: family.size.heads })).rejects.toThrow(
      `does not fit the model: ${name} [${family.size.hidden}] is missing.`,
    )
  })
})

const family = (name: string) => FAMILIES.find((entry) => entry.name === name)!

describe("SigLIP 2's files are told from SigLIP's where they hold its text tower", () => {
  const siglip = family('siglip-vit-l')
  const weights = weightsOf(siglip)
  const TRANSFORMERS = 'text_model.embeddings.token_embedding.weight'
  const OPEN_CLIP = 'text.token_embedding.weight'
  const FILES: readonly (readonly [what: string, file: Checkpoint, isSiglip2: boolean])[] = [
    ['SigLIP 2', withVocabulary(siglipFile(weights), TRANSFORMERS, 256_000), true],
    ["SigLIP 2, open_clip's", withVocabulary(openClipSiglipFile(weights), OPEN_CLIP, 256_000), true],
    ['SigLIP', withVocabulary(siglipFile(weights), TRANSFORMERS, 32_000), false],
    ["SigLIP, open_clip's", withVocabulary(openClipSiglipFile(weights), OPEN_CLIP, 32_000), false],
    ['multilingual SigLIP', withVocabulary(siglipFile(weights), TRANSFORMERS, 250_000), false],
    ['an image tower alone', siglipTowerFile(weights), false],
  ]
  test.each(FILES)('%s', async (_, file, isSiglip2) => {
    const notices: string[] = []
    const onNotice = (sentence: string) => notices.push(sentence)
    using _encoder = await loadEncoder(siglip.name, await write(file), { heads: siglip.size.heads, onNotice })
    const said = notices.filter((sentence) => sentence.includes('SigLIP 2'))
    expect(said).toEqual(
      isSiglip2
        ? [
            'weights.pth holds SigLIP 2: its text tower knows 256,000 pieces of words (of SigLIP 32,000 or 250,000). The image tower ' +
              "is of SigLIP's form and is used as it is; where images are resized, it is bicubically, as for SigLIP, not bilinearly.",
          ]
        : [],
    )
  })
})

describe('files that hold no image tower of SigLIP', () => {
  const siglip = family('siglip-vit-l')
  const tower = siglipFile(weightsOf(siglip))
  const clipTower = transformersFile(weightsOf(family('clip-vit-L')))
  const only = (state: Checkpoint, kept: (name: string) => boolean): Checkpoint =>
    new Map([...state].filter(([name]) => kept(name)))
  // Of 3 channels of 16 x 16.
  const flatPatches = hostFloat32(new Float32Array(48 * 768), [48, 768])
  const WRONG: readonly { what: string; name?: string; state: Checkpoint; message: string }[] = [
    {
      what: 'a text tower',
      state: only(tower, (name) => name.startsWith('text_model.')),
      message: "holds a text tower alone: all of its 3 tensors are text_model's.",
    },
    {
      what: "CLIP's",
      state: clipTower,
      message: "no SigLIP weights, but maybe CLIP's: it has vision_model.embeddings.class_embedding, and SigLIP has no",
    },
    {
      what: "SigLIP's as CLIP's",
      name: 'clip-vit-L',
      state: tower,
      message: "holds no CLIP weights: it has no visual.class_embedding, nor the Transformers library's",
    },
    {
      what: "SigLIP 2's of any shape",
      state: new Map(tower).set('vision_model.embeddings.patch_embedding.weight', flatPatches),
      message:
        'holds SigLIP 2 NaFlex, whose patches are flat ([48, 768]) and whose images are of any shape: another model than',
    },
    {
      what: 'neither',
      state: only(tower, (name) => name.startsWith('logit_')),
      message:
        "it has no vision_model.embeddings.patch_embedding.weight, as the Transformers library calls it, nor timm's pos_embed. " +
        'It has logit_scale, logit_bias.',
    },
    {
      what: 'no positions',
      state: only(tower, (name) => !name.includes('position_embedding')),
      message: 'holds no SigLIP weights: pos_embed was looked for, and it is missing.',
    },
    {
      what: 'one of three projections',
      state: only(tower, (name) => !name.endsWith('1.self_attn.k_proj.bias')),
      message: 'does not fit the model: blocks.1.attn.qkv.bias [144] is missing.',
    },
  ]
  test.each(WRONG)('$what', async ({ name = siglip.name, state, message }) => {
    await expect(loadEncoder(name, await write(state), { heads: siglip.size.heads })).rejects.toThrow(message)
  })
})

describe('sizes', () => {
  const parse = (options: VisionTransformerOptions) => visionTransformerConfigSchema.parse(options)
  const pairs = ENCODER_FAMILIES.flatMap((family) =>
    (Object.keys(family.presets) as VisionTransformerPreset[]).flatMap((name) =>
      Object.entries({ ...family.presets, ...family.others })
        .filter(([other]) => other !== name)
        .map(([other, size]) => ({ family, name, other, size })),
    ),
  )
  test.each(pairs)('the file of $other as $name is an error that says so', ({ family, name, other, size }) => {
    const advice = Object.hasOwn(family.presets, other)
      ? `; name the encoder ${other}, or pass the file of `
      : '; pass the file of '
    const misfit = () => hasNamedSize(family, name, parse(size), 'weights.pth')
    expect(misfit).toThrow(`weights.pth holds ${other} (width ${size.hidden}, depth ${size.depth}, `)
    expect(misfit).toThrow(`), not ${name} (`)
    expect(misfit).toThrow(`${advice}${name}.`)
  })

  const PUBLISHED: readonly { name: VisionTransformerPreset; heads: number; parameters: number }[] = [
    { name: 'dinov2-vit-s', heads: 6, parameters: 22_056_576 },
    { name: 'dinov2-vit-b', heads: 12, parameters: 86_580_480 },
    { name: 'dinov2-vit-l', heads: 16, parameters: 304_368_640 },
    { name: 'dinov2-vit-g', heads: 24, parameters: 1_136_480_768 },
    // DINOv1's without the positions and with four registers and LayerScale.
    { name: 'dinov3-vit-b16', heads: 12, parameters: 85_798_656 - 197 * 768 + 4 * 768 + 12 * 2 * 768 },
    { name: 'dinov3-vit-l16', heads: 16, parameters: 303_301_632 - 197 * 1024 + 4 * 1024 + 24 * 2 * 1024 },
    { name: 'dinov1-vit-b', heads: 12, parameters: 85_798_656 },
    { name: 'mocov3-vit-s', heads: 12, parameters: 21_665_664 },
    { name: 'mocov3-vit-b', heads: 12, parameters: 85_798_656 },
    { name: 'mocov3-vit-l', heads: 16, parameters: 303_301_632 },
    // Without the two vectors of the norm that is not used.
    { name: 'mae-vit-l', heads: 16, parameters: 303_301_632 - 2 * 1024 },
    // OpenAI's 303,966,208 without ln_post's two vectors and the projection [1024, 768].
    { name: 'clip-vit-L', heads: 16, parameters: 303_966_208 - 2 * 1024 - 1024 * 768 },
    // MAE's ViT-H/14 has 630,764,800, the class token and its position among them.
    { name: 'jepa-vit-h', heads: 16, parameters: 630_764_800 - 2 * 1280 },
    // The Transformers library's 92,884,224 of siglip-base-patch16-224, whose table has 196 entries, without the pooling head.
    { name: 'siglip-vit-b', heads: 12, parameters: 92_884_224 + (256 - 196) * 768 - poolingHead(768, 3072) },
    // MoCo v3's ViT-L/16, without a class token and with more positions.
    { name: 'siglip-vit-l', heads: 16, parameters: 303_301_632 + (256 - 197) * 1024 - 1024 },
    // Its 428,225,600 of siglip-so400m-patch14-384, whose table has 729 entries.
    { name: 'siglip-vit-so400m', heads: 16, parameters: 428_225_600 - (729 - 256) * 1152 - poolingHead(1152, 4304) },
  ]
  test.each(PUBLISHED)(
    '$name has $parameters parameters, and its heads are known',
    async ({ name, heads, parameters }) => {
      const entries = VisionTransformer.entriesOf(parse(VISION_TRANSFORMER_PRESETS[name]))
      expect(entries.reduce((count, { shape }) => count + elementCount(shape), 0)).toBe(parameters)
      const family = ENCODER_FAMILIES.find(({ presets }) => Object.hasOwn(presets, name))!
      const { traits, title } = family
      const shapes = new Map(entries.map((entry) => [entry.name, entry.shape]))
      const state = {
        name: 'file',
        names: [...shapes.keys()],
        shapeOf: (key: string) => shapes.get(key)!,
        read: unread,
      }
      const known = Object.values({ ...family.presets, ...family.others })
      expect(vitConfig(state, { family: title, traits, known })).toEqual(parse(VISION_TRANSFORMER_PRESETS[name]))
      expect(parse(VISION_TRANSFORMER_PRESETS[name]).heads).toBe(heads)
    },
  )
})

/** SigLIP's: the probe, attention, a norm and an MLP. */
function poolingHead(width: number, ffnWidth: number): number {
  return width + 4 * width * (width + 1) + 2 * width + 2 * width * ffnWidth + ffnWidth + width
}

async function unread(): Promise<never> {
  throw new Error('a configuration follows from shapes alone')
}

describe('grids', () => {
  const encoderOf = (name: VisionTransformerPreset) => {
    const family = ENCODER_FAMILIES.find(({ presets }) => Object.hasOwn(presets, name))!
    const { registers } = visionTransformerConfigSchema.parse(VISION_TRANSFORMER_PRESETS[name])
    const model = VisionTransformer.create({
      ...family.traits,
      registers,
      patch: 2,
      imageSize: 6,
      hidden: 16,
      depth: 1,
      heads: 2,
    })
    return new VisionEncoder(family, name, model)
  }

  test.each(Object.keys(VISION_TRANSFORMER_PRESETS) as VisionTransformerPreset[])('%s', (name) => {
    using encoder = encoderOf(name)
    using images = Tensor.from(new Uint8Array(3 * 64 * 64).fill(9), [1, 3, 64, 64], 'cpu')
    for (const grid of [
      [16, 16],
      [3, 3],
      [1, 5],
    ] as const) {
      using features = encoder.features(images, grid)
      expect(features.shape).toEqual([1, grid[0] * grid[1], 16])
    }
    // Behind a final norm: MAE and CLIP are taken without, I-JEPA and SigLIP have no such token.
    expect(encoder.hasClassToken).toBe(/^(dinov2|dinov2reg|dinov3|dinov1|mocov3)-/.test(name))
    if (encoder.hasClassToken) {
      using tokens = encoder.features(images, [3, 3], { classToken: true })
      expect(tokens.shape).toEqual([1, 10, 16])
    }
    for (const [rows, columns] of [
      [32, 32],
      [1, 17],
      [17, 2],
    ] as const) {
      const large = () => encoder.features(images, [rows, columns])
      if (/^(dinov2|dinov3|siglip)-/.test(name)) {
        using features = large()
        expect(features.shape).toEqual([1, rows * columns, 16])
      } else {
        expect(large).toThrow(
          `The encoder ${name} has no mode for images of 512 pixels, whose grid is ${rows} x ${columns}: as in the reference, it goes up to 16 x 16.`,
        )
      }
    }
  })
})
