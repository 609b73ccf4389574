import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import type { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { type LoadAutoencoderOptions, loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import {
  expectClose,
  fromValues,
  map,
  type NdArray,
  random,
  randomIntegers,
  reshape,
  zeros,
} from '../reference/array.ts'
import { unpatchify } from '../reference/patches.ts'
import { resize } from '../reference/resize.ts'
import { block, layersOf, patchFeatures } from '../reference/vit.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES } from '../tensor/devices.ts'
import {
  authorsDecoder,
  authorsEncoder,
  authorsStatistics,
  DECODER,
  decoderWeights,
  diffusersWhole,
  ENCODER,
  encoderWeights,
  GRID,
  LATENT,
  type State,
  statistics,
  transformersEncoder,
} from './rae-files.ts'

const SIZE = GRID * DECODER.patch
const MEAN = [0.485, 0.456, 0.406]
const STD = [0.229, 0.224, 0.225]
/** Added to the variance by the authors, to the deviation by diffusers. */
const EPSILON = 1e-5
type Writer = 'authors' | 'diffusers'
const deviation = (at: number, writer: Writer) =>
  writer === 'authors' ? Math.sqrt(statistics.var.data[at]! + EPSILON) : Math.sqrt(statistics.var.data[at]!) + EPSILON

const photos = Array.from({ length: 2 }, (_, i) => Uint8Array.from(randomIntegers(SIZE * SIZE * 3, 256, 30 + i)))

/** The latents of both photos in float64: RAE's encode (stage1/rae.py). */
function encoded(writer: Writer): NdArray {
  const plane = SIZE * SIZE
  const unit = map(zeros([2, 3, SIZE, SIZE]), (_, i) => {
    const [image, channel, pixel] = [Math.floor(i / (3 * plane)), Math.floor(i / plane) % 3, i % plane]
    return photos[image]![3 * pixel + channel]! / 255
  })
  const side = GRID * ENCODER.patch
  const resized = resize(unit, side, side, { method: 'bicubic', antialias: false })
  const normalised = map(resized, (value, i) => {
    const channel = Math.floor(i / (side * side)) % 3
    return (value - MEAN[channel]!) / STD[channel]!
  })
  const weights = encoderWeights()
    .set(
      'norm.weight',
      map(zeros([LATENT]), () => 1),
    )
    .set('norm.bias', zeros([LATENT]))
  const features = patchFeatures(normalised, {
    weights,
    depth: ENCODER.depth,
    heads: ENCODER.heads,
    epsilon: 1e-6,
    activation: 'gelu-erf',
    classToken: true,
    preNorm: false,
    finalNorm: true,
    patchBias: true,
  })
  const tokens = GRID ** 2
  return map(zeros([2, LATENT, GRID, GRID]), (_, i) => {
    const [image, channel, token] = [Math.floor(i / (LATENT * tokens)), Math.floor(i / tokens) % LATENT, i % tokens]
    const at = channel * tokens + token
    return (
      (features.data[(image * tokens + token) * LATENT + channel]! - statistics.mean.data[at]!) / deviation(at, writer)
    )
  })
}

const latents = random([2, LATENT, GRID, GRID], 9)

/** What is made of them in float64: RAE's decode. */
function decoded(writer: Writer): NdArray {
  const tokens = GRID ** 2
  const features = map(zeros([2, tokens, LATENT]), (_, i) => {
    const [image, token, channel] = [Math.floor(i / (LATENT * tokens)), Math.floor(i / LATENT) % tokens, i % LATENT]
    const at = channel * tokens + token
    return Math.fround(latents.data[image * LATENT * tokens + at]!) * deviation(at, writer) + statistics.mean.data[at]!
  })
  const weights = decoderWeights()
  const model = { weights, epsilon: 1e-12, heads: DECODER.heads, activation: 'gelu-erf' } as const
  const { of, dense, norm } = layersOf(model)
  const embedded = dense(features, 'decoder_embed')
  const { hidden } = DECODER
  let x = map(zeros([2, 1 + tokens, hidden]), (_, i) => {
    const [image, token, d] = [
      Math.floor(i / ((1 + tokens) * hidden)),
      Math.floor(i / hidden) % (1 + tokens),
      i % hidden,
    ]
    const own =
      token === 0 ? of('trainable_cls_token').data[d]! : embedded.data[(image * tokens + token - 1) * hidden + d]!
    return own + of('decoder_pos_embed').data[token * hidden + d]!
  })
  for (let i = 0; i < DECODER.depth; i++) x = block(x, `decoder_layers.${i}`, model)
  const all = dense(norm(x, 'decoder_norm'), 'decoder_pred')
  const width = 3 * DECODER.patch ** 2
  const patches = map(zeros([2, tokens, width]), (_, i) => {
    const image = Math.floor(i / (tokens * width))
    return all.data[i + (image + 1) * width]! * STD[i % 3]! + MEAN[i % 3]!
  })
  return unpatchify(patches, { patch: DECODER.patch, channels: 3, height: SIZE, width: SIZE })
}

const write = (path: string, state: State) =>
  path.endsWith('.safetensors')
    ? writeSafetensors(
        path,
        [...state].map(([name, tensor]) => ({ name, ...tensor })),
      )
    : writeTorchCheckpoint(path, state)

/** Writes files into a folder of that name; `config.json` is text. */
async function folderOf(files: Readonly<Record<string, State | string>>): Promise<string> {
  const folder = join(temporaryFolder(), 'my-rae')
  mkdirSync(folder)
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === 'string') writeFileSync(join(folder, name), content)
    else await write(join(folder, name), content)
  }
  return folder
}

const PARTS = { 'model.pt': authorsDecoder(), 'stat.pt': authorsStatistics() }
const CONFIG = JSON.stringify({ _class_name: 'AutoencoderRAE', encoder_type: 'dinov2', decoder_num_attention_heads: 2 })
const WHOLE = { 'diffusion_pytorch_model.safetensors': diffusersWhole(), 'config.json': CONFIG }

interface Layout {
  readonly what: string
  readonly writer: Writer
  readonly files: Readonly<Record<string, State | string>>
  /** In the folder. */
  readonly path?: string
}

const LAYOUTS: readonly Layout[] = [
  {
    what: "its authors', with DINOv2's",
    writer: 'authors',
    files: { ...PARTS, 'dinov2_vitb14_reg4_pretrain.pth': authorsEncoder() },
  },
  {
    what: "its authors', with the Transformers library's",
    writer: 'authors',
    files: { ...PARTS, 'model.safetensors': transformersEncoder() },
  },
  {
    what: 'the decoder named among others',
    writer: 'authors',
    files: { ...PARTS, 'other.pt': authorsDecoder(), 'encoder.pth': authorsEncoder() },
    path: 'model.pt',
  },
  {
    what: "names that are TAESD's too",
    writer: 'authors',
    files: { 'decoder.pt': PARTS['model.pt'], 'encoder.pt': authorsEncoder(), 'stat.pt': PARTS['stat.pt'] },
  },
  { what: "diffusers'", writer: 'diffusers', files: WHOLE },
  {
    what: "diffusers', the file alone",
    writer: 'diffusers',
    files: WHOLE,
    path: 'diffusion_pytorch_model.safetensors',
  },
]

/** Half an ulp of the largest for every term of the longest chain of sums. */
const bound = (terms: number, { data }: NdArray) => ({
  atol: terms * 2 ** -24 * data.reduce((most, value) => Math.max(most, Math.abs(value)), 1),
  rtol: 0,
})
const ENCODER_TERMS = 3 * ENCODER.patch ** 2 + ENCODER.depth * (3 * LATENT + 8 * LATENT + 5 + GRID ** 2)
const { hidden, ffnWidth } = DECODER
const DECODER_TERMS = LATENT + DECODER.depth * (3 * hidden + ffnWidth + 1 + GRID ** 2) + hidden

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a RAE on ${device}`, () => {
    let liveBytes: number
    beforeEach(() => {
      liveBytes = memoryStats(device).liveBytes
    })
    afterEach(() => {
      expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(liveBytes)
    })

    test.each(LAYOUTS)('from files: $what', async ({ writer, files, path = '' }) => {
      const folder = await folderOf(files)
      using rae = await loadAutoencoder(join(folder, path), { device })
      expect(rae).toMatchObject({ name: 'my-rae', latentChannels: LATENT, downsampling: 4, latentScale: 1 })
      expect(rae.hasDeviations).toBe(false)

      const made = await rae.encode(photos, SIZE)
      const points = fromValues(
        [2, LATENT, GRID, GRID],
        made.flatMap((latent) => [...latent]),
      )
      const expected = encoded(writer)
      expectClose('latents', points, expected, bound(ENCODER_TERMS, expected))

      using z = Tensor.from(Float32Array.from(latents.data), latents.shape, device)
      const { bytes, height, width } = await rae.decode(z)
      expect([height, width]).toEqual([SIZE, SIZE])
      const pixels = decoded(writer)
      const { atol } = bound(DECODER_TERMS, pixels)
      const plane = SIZE * SIZE
      bytes.forEach((byte, i) => {
        const [image, pixel, channel] = [Math.floor(i / (3 * plane)), Math.floor(i / 3) % plane, i % 3]
        const exact = pixels.data[(image * 3 + channel) * plane + pixel]!
        const [low, high] = [exact - atol, exact + atol].map((value) =>
          Math.trunc(Math.min(255, Math.max(0, 255 * value))),
        )
        if (byte < low! || byte > high!) throw new Error(`byte ${i} is ${byte}, not from ${low} to ${high}`)
      })
      // Neither all black nor all white.
      expect(new Set(bytes).size).toBeGreaterThan(50)
    })
  })
}

test('the reference tells the two ways of adding epsilon apart, and what the final norm’s weights would do', () => {
  const [one, other] = [encoded('authors'), encoded('diffusers')]
  const furthest = one.data.reduce((most, value, i) => Math.max(most, Math.abs(value - other.data[i]!)), 0)
  expect(furthest).toBeGreaterThan(0)
  expect(
    encoderWeights()
      .get('norm.weight')!
      .data.some((value) => Math.abs(value - 1) > 0.1),
  ).toBe(true)
})

describe('one half', () => {
  const all = { ...PARTS, 'dinov2_vitb14_reg4_pretrain.pth': authorsEncoder() }

  test.each(['encoder', 'decoder'] as const)('%s alone: the other is neither loaded nor missed', async (half) => {
    const { 'dinov2_vitb14_reg4_pretrain.pth': _, ...withoutEncoder } = all
    const folder = await folderOf(half === 'decoder' ? withoutEncoder : all)
    using rae = await loadAutoencoder(folder, { half })
    using z = Tensor.from(Float32Array.from(latents.data), latents.shape, 'cpu')
    const [encoding, decoding] = [() => rae.encode(photos, SIZE), () => rae.decode(z)]
    if (half === 'encoder') {
      expect(await encoding()).toHaveLength(2)
      await expect(decoding()).rejects.toThrow('my-rae: the decoder of this RAE is not loaded.')
    } else {
      expect((await decoding()).bytes).toHaveLength(2 * SIZE * SIZE * 3)
      await expect(encoding()).rejects.toThrow('my-rae: the encoder of this RAE is not loaded.')
    }
  })
})

describe('refused', () => {
  const encoder = { 'encoder.pth': authorsEncoder() }
  const wide = (): State =>
    new Map([
      ['mean', PARTS['stat.pt'].get('mean')!],
      ['var', hostFloat32(new Float32Array(6), [6])],
    ])
  const without = (state: State, name: string): State => new Map([...state].filter(([key]) => key !== name))
  const REFUSED: readonly [string, Readonly<Record<string, State | string>>, string, LoadAutoencoderOptions?][] = [
    ['no statistics', { 'model.pt': PARTS['model.pt'], ...encoder }, 'has no statistics of its latents beside it'],
    ['no encoder', PARTS, 'has no file of its encoder beside it: put dinov2_vitb14_reg4_pretrain.pth there'],
    [
      'two decoders',
      { ...PARTS, ...encoder, 'other.pt': PARTS['model.pt'] },
      "both hold a RAE's decoder; leave one of them there.",
    ],
    [
      'statistics of another grid',
      { ...PARTS, 'stat.pt': wide(), ...encoder },
      "var has shape [6]; expected [64, 2, 2], as the decoder's latents are, or one number for a channel, or for all.",
    ],
    [
      'an incomplete decoder',
      { ...PARTS, 'model.pt': without(PARTS['model.pt'], 'decoder_layers.1.attention.attention.key.bias'), ...encoder },
      'does not fit the model: decoder_layers.1.attn.qkv.bias [384] is missing.',
    ],
    [
      'a decoder without what its width follows from',
      { ...PARTS, 'model.pt': without(PARTS['model.pt'], 'decoder_pred.weight'), ...encoder },
      "holds no RAE's decoder: decoder_pred.weight was looked for, and it is missing.",
    ],
    [
      "another encoder's",
      { ...WHOLE, 'config.json': JSON.stringify({ encoder_type: 'siglip2' }) },
      'is a RAE of the encoder siglip2, its latents scaled by 1; those of dinov2 with a scale of 1 are known here.',
    ],
    [
      'heads that do not divide its width',
      { ...WHOLE, 'config.json': CONFIG.replace(':2', ':5') },
      'my-rae/config.json: heads is 5: 5 heads do not divide the hidden width 128.',
    ],
    [
      'tiles',
      { ...PARTS, ...encoder },
      'my-rae is a RAE, whose decoder sees the whole of an image; it cannot work in tiles of 8',
      { tile: 8 },
    ],
    [
      'to measure its statistics',
      { ...PARTS, ...encoder },
      "is a RAE's: its latents are standardised already, and are used as they are.",
      { unscaled: true },
    ],
  ]
  test.each(REFUSED)('%s', async (_, files, message, options) => {
    const before = memoryStats('cpu').liveBytes
    await expect(loadAutoencoder(await folderOf(files), options)).rejects.toThrow(message)
    expect(memoryStats('cpu').liveBytes).toBe(before)
  })

  test('images and latents of another size', async () => {
    using rae = await loadAutoencoder(await folderOf({ ...PARTS, ...encoder }))
    const large = [new Uint8Array(12 * 12 * 3)]
    await expect(rae.encode(large, 12)).rejects.toThrow(
      'my-rae is a RAE of images of 8 x 8 pixels, latents of 2 x 2; these are latents of 3 x 3.',
    )
    using z = Tensor.zeros([1, LATENT, 3, 2], 'cpu')
    await expect(rae.decode(z)).rejects.toThrow('these are latents of 3 x 2.')
  })
})

test('DINOv2 in the Transformers library’s names is an encoder to align with, and gives the same features', async () => {
  const folder = temporaryFolder()
  const featuresOf = async (name: string, state: State) => {
    await write(join(folder, name), state)
    using encoder = (await loadEncoder('dinov2reg-vit-s', join(folder, name), { heads: 1 })) as VisionEncoder
    using images = Tensor.from(Uint8Array.from(randomIntegers(3 * 64, 256, 3)), [1, 3, 8, 8], 'cpu')
    using features = encoder.features(images, [3, 3])
    return reshape(fromValues(features.shape, await features.data()), [9, LATENT])
  }
  expect(await featuresOf('model.safetensors', transformersEncoder())).toEqual(
    await featuresOf('dinov2.pth', authorsEncoder()),
  )
})
