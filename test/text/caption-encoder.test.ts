import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { numberToFloat16 } from '../../src/tensor/float16.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import type { CaptionEncoder } from '../../src/text/caption-encoder.ts'
import { captionEncoderDigest } from '../../src/text/clip-files.ts'
import { loadCaptionEncoder } from '../../src/text/load-caption-encoder.ts'
import { clipTextWeights, type TextSizes } from '../models/clip-text-weights.ts'
import { compare, expectClose, fromValues, map, type NdArray, roundTo } from '../reference/array.ts'
import { type ClipTextReference, clipTextStates } from '../reference/clip-text.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { largestOf } from '../tensor/rounding.ts'
import { type FileTensors, openaiModel, openaiTower, transformersModel, transformersTower } from './clip-files.ts'
import { END, START, TOKENS, tokenizerJson } from './tokenizer-file.ts'

const SIZES: TextSizes = { vocabulary: TOKENS.length, tokens: 11, hidden: 128, depth: 2, heads: 2, ffnWidth: 512 }
const WEIGHTS = clipTextWeights(SIZES)
const REFERENCE: ClipTextReference = { ...SIZES, weights: WEIGHTS, epsilon: 1e-5, activation: 'quick-gelu' }
const CAPTIONS = ['a photo of the cat', '', 'The cats’ 10 photos, and much more than fits']

interface Files {
  readonly tensors?: FileTensors
  /** Of the weights. Default: model.safetensors. */
  readonly name?: string
  readonly tokenizer?: unknown
  readonly config?: unknown
}

/** A folder as a clone of a repository is. */
async function repository({
  tensors = transformersModel(WEIGHTS),
  name = 'model.safetensors',
  tokenizer = tokenizerJson(),
  config,
}: Files = {}): Promise<string> {
  const folder = temporaryFolder()
  await writeWeights(join(folder, name), tensors)
  if (tokenizer !== null) await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  if (config !== undefined) await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  return folder
}

async function writeWeights(path: string, tensors: FileTensors): Promise<void> {
  if (!path.endsWith('.safetensors')) return writeTorchCheckpoint(path, tensors)
  await writeSafetensors(
    path,
    [...tensors].map(([name, tensor]) => ({ name, ...tensor })),
  )
}

async function statesOf(encoder: CaptionEncoder): Promise<NdArray> {
  const ids = encoder.tokenize(CAPTIONS)
  using input = Tensor.from(ids, [CAPTIONS.length, encoder.tokens], 'cpu')
  using states = encoder.features(input)
  return fromValues(states.shape, await states.data())
}

const IDS = Int32Array.from(
  ['a</w> photo</w> of</w> the</w> cat</w>', '', 'the</w> cats</w> â Ģ Ļ</w> 1</w> 0</w> phot o'].flatMap((words) => {
    const ids = words === '' ? [] : words.split(' ').map((token) => TOKENS.indexOf(token))
    return [START, ...ids, ...new Array(SIZES.tokens - 1 - ids.length).fill(END)]
  }),
)

/** As test/models/clip-text.test.ts derives it. */
function tolerance(expected: NdArray): { atol: number; rtol: number } {
  const { tokens, hidden, depth, ffnWidth } = SIZES
  return { atol: (2 + depth * (4 * hidden + tokens + ffnWidth)) * 2 ** -24 * largestOf(expected), rtol: 0 }
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

describe('what a caption encoder is loaded from', () => {
  const expected = clipTextStates(IDS, REFERENCE)
  const LAYOUTS: readonly { what: string; tensors: FileTensors; name?: string }[] = [
    { what: 'CLIPModel, both towers', tensors: transformersModel(WEIGHTS) },
    { what: 'CLIPTextModel', tensors: transformersTower(WEIGHTS) },
    { what: 'CLIPTextModel without a prefix', tensors: transformersTower(WEIGHTS, '') },
    { what: 'CLIPModel by torch.save', tensors: transformersModel(WEIGHTS), name: 'pytorch_model.bin' },
    { what: 'OpenAI’s model, both towers', tensors: openaiModel(WEIGHTS), name: 'ViT-L-14.pt' },
    { what: 'OpenAI’s text tower alone', tensors: openaiTower(WEIGHTS), name: 'text.safetensors' },
  ]
  test.each(LAYOUTS)('$what', async ({ tensors, name = 'model.safetensors' }) => {
    const folder = await repository({ tensors, name })
    using encoder = await loadCaptionEncoder(join(folder, name))
    expect(encoder.tokenize(CAPTIONS)).toEqual(IDS)
    expectClose('states', await statesOf(encoder), expected, tolerance(expected))
  })

  test.each(['model.safetensors', 'pytorch_model.bin'])('a folder with %s', async (name) => {
    const folder = await repository({ name })
    using encoder = await loadCaptionEncoder(folder)
    expect(encoder).toMatchObject({
      name: 'clip-text-128x2',
      file: join(folder, name),
      width: 128,
      tokens: 11,
      device: 'cpu',
      config: { depth: 2, heads: 2, activation: 'quick-gelu' },
    })
    expectClose('states', await statesOf(encoder), expected, tolerance(expected))
  })

  test('has a digest of weights, tokenizer and configuration, wherever they lie', async () => {
    const folders = await Promise.all([repository(), repository()])
    const digests = () => Promise.all(folders.map(captionEncoderDigest))
    const [own, moved] = await digests()
    expect(own).toMatch(/^[0-9a-f]{64}$/)
    expect(moved).toBe(own)
    const seen = new Set([own])
    const changed = folders[1]!
    for (const [file, bytes] of [
      ['tokenizer.json', '{}'],
      ['config.json', '{"text_config": {"hidden_act": "gelu"}}'],
      ['model.safetensors', 'other'],
    ] as const) {
      await writeFile(join(changed, file), bytes)
      const [same, other] = await digests()
      expect(same).toBe(own)
      expect(seen).not.toContain(other)
      seen.add(other)
    }
  })

  test('of two files in a folder safetensors counts', async () => {
    const folder = await repository()
    await writeFile(join(folder, 'pytorch_model.bin'), 'is not read')
    using encoder = await loadCaptionEncoder(folder)
    expect(encoder.file).toBe(join(folder, 'model.safetensors'))
  })

  test('weights in f16, as OpenAI publishes them', async () => {
    const halves: FileTensors = new Map(
      [...openaiModel(WEIGHTS)].map(([name, tensor]) => {
        const bits = Uint16Array.from(toFloat32(tensor), numberToFloat16)
        return [name, { dtype: 'f16', shape: tensor.shape, data: new Uint8Array(bits.buffer) }]
      }),
    )
    const folder = await repository({ tensors: halves, name: 'ViT-L-14.pt' })
    using encoder = await loadCaptionEncoder(join(folder, 'ViT-L-14.pt'))
    const weights = new Map([...WEIGHTS].map(([name, value]) => [name, map(value, (number) => roundTo('f16', number))]))
    const rounded = clipTextStates(IDS, { ...REFERENCE, weights })
    expectClose('states', await statesOf(encoder), rounded, tolerance(rounded))
    expect(compare(rounded, expected, tolerance(expected)).close).toBe(false)
  })
})

describe('what a config.json beside the weights states', () => {
  const tower = { model_type: 'clip_text_model' }
  const STATED: readonly { what: string; config: unknown; change: Partial<ClipTextReference> }[] = [
    { what: 'QuickGELU', config: { ...tower, hidden_act: 'quick_gelu', num_attention_heads: 2 }, change: {} },
    { what: 'nothing of it', config: tower, change: {} },
    { what: 'the exact GELU', config: { ...tower, hidden_act: 'gelu' }, change: { activation: 'gelu-erf' } },
    {
      what: 'the approximate GELU',
      config: { ...tower, hidden_act: 'gelu_pytorch_tanh' },
      change: { activation: 'gelu-tanh' },
    },
    { what: 'its heads', config: { ...tower, num_attention_heads: 8 }, change: { heads: 8 } },
    { what: 'its epsilon', config: { ...tower, layer_norm_eps: 1e-4 }, change: { epsilon: 1e-4 } },
    {
      what: 'all of it for the text tower of two',
      config: {
        model_type: 'clip',
        text_config: { hidden_act: 'gelu', num_attention_heads: 4, layer_norm_eps: 1e-6 },
        vision_config: { hidden_act: 'quick_gelu' },
      },
      change: { activation: 'gelu-erf', heads: 4, epsilon: 1e-6 },
    },
  ]
  test.each(STATED)('$what', async ({ config, change }) => {
    using encoder = await loadCaptionEncoder(await repository({ config }))
    const expected = clipTextStates(IDS, { ...REFERENCE, ...change })
    expectClose('states', await statesOf(encoder), expected, tolerance(expected))
    const plain = clipTextStates(IDS, REFERENCE)
    expect(compare(plain, expected, tolerance(expected)).close).toBe(Object.keys(change).length === 0)
  })
})

describe('what is refused, in a sentence', () => {
  const without = (tensors: FileTensors, ...names: string[]) =>
    new Map([...tensors].filter(([name]) => !names.includes(name)))
  const small = new Map([['x_embedder.proj.weight', transformersTower(WEIGHTS).values().next().value!]])
  const siglip = transformersTower(WEIGHTS)
  siglip.set('text_model.head.weight', siglip.values().next().value!)
  const larger = { ...tokenizerJson(), added_tokens: [{ id: TOKENS.length, content: '<sks>' }] }
  const REFUSED: readonly ({ what: string; message: string } & Files)[] = [
    {
      what: 'no tokenizer',
      tokenizer: null,
      message:
        "tokenizer.json: captions become tokens by the tokenizer.json of the weights' repository (openai/clip-vit-large-patch14, say), " +
        'which belongs beside the weights.',
    },
    {
      what: 'the tokenizer of another model',
      tokenizer: larger,
      message: `has ${TOKENS.length + 1} tokens, and the token embedding of `,
    },
    { what: 'other weights', tensors: small, message: 'holds no text tower of CLIP: it has neither' },
    { what: 'the text tower of SigLIP', tensors: siglip, message: "holds SigLIP's text tower" },
    {
      what: 'no positions',
      tensors: without(openaiTower(WEIGHTS), 'positional_embedding'),
      message: 'no whole text tower of CLIP: position_embedding.weight was looked for, and it is missing.',
    },
    {
      what: 'no last norm',
      tensors: without(transformersModel(WEIGHTS), 'text_model.final_layer_norm.bias'),
      message: 'does not fit the model: final_layer_norm.bias [128] is missing.',
    },
    {
      what: 'a block without keys',
      tensors: without(transformersModel(WEIGHTS), 'text_model.encoder.layers.1.self_attn.k_proj.weight'),
      message: 'does not fit the model: blocks.1.attn.qkv.weight [384,128] is missing.',
    },
    {
      what: 'an activation that is not computed',
      config: { model_type: 'clip_text_model', hidden_act: 'relu' },
      message: 'hidden_act is "relu": expected one of "quick_gelu"|"gelu"|"gelu_new"|"gelu_pytorch_tanh"',
    },
    {
      what: 'the configuration of another model',
      config: { model_type: 'siglip' },
      message: 'model_type is "siglip": expected one of "clip"|"clip_text_model"',
    },
    {
      what: 'heads that do not divide the width',
      config: { model_type: 'clip_text_model', num_attention_heads: 3 },
      message: '3 heads do not divide the hidden width 128',
    },
  ]
  test.each(REFUSED)('$what', async ({ message, what: _, ...files }) => {
    await expect(loadCaptionEncoder(await repository(files))).rejects.toThrow(message)
  })

  test.each([
    [{ dtype: 'fp16' }, 'dtype is "fp16": expected one of "f32"|"bf16"|"f16"'],
    [{ precision: 'bf16' }, 'there is no setting "precision"'],
  ])('options that are none: %j', async (options, message) => {
    await expect(loadCaptionEncoder('nowhere', options as never)).rejects.toThrow(message)
  })

  test('no tokenizer, where it is to be part of a digest', async () => {
    await expect(captionEncoderDigest(await repository({ tokenizer: null }))).rejects.toThrow(
      'tokenizer.json: captions become tokens by',
    )
  })

  test('a path where there is nothing, a folder without weights, and a narrow dtype on the CPU', async () => {
    const folder = temporaryFolder()
    await expect(loadCaptionEncoder(join(folder, 'clip'))).rejects.toThrow(
      /^There is no caption encoder .*clip: expected a file of CLIP's weights or a folder with one; name where it lies now\.$/,
    )
    await mkdir(join(folder, 'empty'))
    await expect(loadCaptionEncoder(join(folder, 'empty'))).rejects.toThrow(
      'empty holds no model.safetensors or pytorch_model.bin',
    )
    await expect(loadCaptionEncoder(await repository(), { dtype: 'bf16' })).rejects.toThrow(
      'The CPU computes in f32 only, not in bf16; load the caption encoder with dtype f32.',
    )
  })
})
