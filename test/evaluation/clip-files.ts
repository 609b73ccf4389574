/** A small CLIP of random weights: its files, as they are published, and the same in float64. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { type HostTensor, hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { openaiFile, transformersFile } from '../alignment/published-files.ts'
import { asFileTensor, clipTextWeights, type TextSizes } from '../models/clip-text-weights.ts'
import { fromValues, map, type NdArray, random, scaled, zeros } from '../reference/array.ts'
import { type ClipTextReference, clipTextStates } from '../reference/clip-text.ts'
import { DrawnWeights } from '../reference/drawn-weights.ts'
import { linear } from '../reference/linear.ts'
import { classFeatures, type ViTReference } from '../reference/vit.ts'
import { type FileTensors, openaiTower, transformersTower } from '../text/clip-files.ts'
import { END, START, TOKENS, tokenizerJson } from '../text/tokenizer-file.ts'

/** Of the image tower: heads of 64 columns, as those of any file that states no others. */
export const IMAGE = { side: 3, patch: 8, hidden: 128, heads: 2, depth: 2, ffnWidth: 512 } as const
export const IMAGE_SIZE = IMAGE.side * IMAGE.patch
export const TEXT: TextSizes = { vocabulary: TOKENS.length, tokens: 11, hidden: 64, depth: 2, heads: 1, ffnWidth: 256 }
/** Features of an image and of a text. */
export const WIDTH = 40

/** Of which blocks add more to the stream, so that captions are told apart where they end. */
const TEXT_WEIGHTS = new Map(
  [...clipTextWeights(TEXT, 500)].map(([name, value]) => [
    name,
    /(attn\.proj|fc2)\.weight$/.test(name) ? scaled(value, 16) : value,
  ]),
)
const IMAGE_WEIGHTS = imageWeights()
const PROJECTIONS = { image: matrix(IMAGE.hidden, 900), text: matrix(TEXT.hidden, 901) }

export const IMAGE_REFERENCE: ViTReference = {
  weights: IMAGE_WEIGHTS,
  depth: IMAGE.depth,
  heads: IMAGE.heads,
  epsilon: 1e-5,
  activation: 'quick-gelu',
  classToken: true,
  preNorm: true,
  finalNorm: true,
  patchBias: false,
}
export const TEXT_REFERENCE: ClipTextReference = {
  weights: TEXT_WEIGHTS,
  depth: TEXT.depth,
  heads: TEXT.heads,
  epsilon: 1e-5,
  activation: 'quick-gelu',
}

/** [WIDTH, columns]. */
function matrix(columns: number, seed: number): NdArray {
  return map(random([WIDTH, columns], seed), (value) => Math.fround(value / Math.sqrt(columns)))
}

/** Under timm's names. */
function imageWeights(): Map<string, NdArray> {
  const { hidden, patch, side, depth, ffnWidth } = IMAGE
  const drawn = new DrawnWeights(700)
  drawn.add('cls_token', [1, 1, hidden], 0.5)
  drawn.add('pos_embed', [1, 1 + side ** 2, hidden], 0.5)
  drawn.add('patch_embed.proj.weight', [hidden, 3, patch, patch], 0.1)
  drawn.norm('norm_pre', hidden)
  for (let i = 0; i < depth; i++) {
    drawn.norm(`blocks.${i}.norm1`, hidden)
    drawn.dense(`blocks.${i}.attn.qkv`, 3 * hidden, hidden)
    drawn.dense(`blocks.${i}.attn.proj`, hidden, hidden)
    drawn.norm(`blocks.${i}.norm2`, hidden)
    drawn.dense(`blocks.${i}.mlp.fc1`, ffnWidth, hidden)
    drawn.dense(`blocks.${i}.mlp.fc2`, hidden, ffnWidth)
  }
  drawn.norm('norm', hidden)
  return drawn.weights
}

const scalar = hostFloat32(Float32Array.of(4.6), [1])
const weightOf = (name: string) => asFileTensor(IMAGE_WEIGHTS.get(name)!)
const towerOnly = (file: ReadonlyMap<string, unknown>, prefix: string) =>
  [...(file as ReadonlyMap<string, HostTensor>)].filter(([name]) => name.startsWith(prefix))

function transposed({ shape, data }: NdArray): NdArray {
  const [rows, columns] = shape as [number, number]
  return map(zeros([columns, rows]), (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!)
}

/** ViT-L-14.pt, whose features are multiplied by the projections. */
export const openaiClip = (): FileTensors =>
  new Map<string, HostTensor>([
    ...openaiTower(TEXT_WEIGHTS),
    ...towerOnly(openaiFile(new Map([...IMAGE_WEIGHTS].filter(([name]) => !/^norm\./.test(name)))), 'visual.'),
    ['visual.ln_post.weight', weightOf('norm.weight')],
    ['visual.ln_post.bias', weightOf('norm.bias')],
    ['visual.proj', asFileTensor(transposed(PROJECTIONS.image))],
    ['text_projection', asFileTensor(transposed(PROJECTIONS.text))],
    ['logit_scale', scalar],
    ['input_resolution', scalar],
  ])

/** CLIPModel. */
export const transformersClip = (): FileTensors =>
  new Map<string, HostTensor>([
    ...transformersTower(TEXT_WEIGHTS),
    ...towerOnly(transformersFile(IMAGE_WEIGHTS), 'vision_model.'),
    ['vision_model.post_layernorm.weight', weightOf('norm.weight')],
    ['vision_model.embeddings.position_ids', scalar],
    ['visual_projection.weight', asFileTensor(PROJECTIONS.image)],
    ['text_projection.weight', asFileTensor(PROJECTIONS.text)],
    ['logit_scale', scalar],
  ])

export interface ClipFiles {
  readonly tensors?: FileTensors
  readonly name?: string
  readonly config?: unknown
}

/** A folder as a clone of a repository is; returns the file of the weights. */
export async function writeClip(
  folder: string,
  { tensors = transformersClip(), name = 'model.safetensors', config }: ClipFiles = {},
): Promise<string> {
  const file = join(folder, name)
  await mkdir(dirname(file), { recursive: true })
  if (name.endsWith('.safetensors')) {
    await writeSafetensors(
      file,
      [...tensors].map(([name, tensor]) => ({ name, ...tensor })),
    )
  } else await writeTorchCheckpoint(file, tensors)
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizerJson()))
  if (config !== undefined) await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  return file
}

/** Captions with their tokens, of which the last is longer than fits and is cut. */
export const CAPTIONS: readonly (readonly [caption: string, tokens: string])[] = [
  ['a photo of the cat', 'a</w> photo</w> of</w> the</w> cat</w>'],
  ['10 cats', '1</w> 0</w> cats</w>'],
  ['the', 'the</w>'],
  [
    'at the photo of the cat of the cat at the photo',
    'at</w> the</w> photo</w> of</w> the</w> cat</w> of</w> the</w> cat</w>',
  ],
]

/** Features [captions, WIDTH] in float64. */
export function referenceTextFeatures(tokens: readonly string[], reference = TEXT_REFERENCE): NdArray {
  const rows = tokens.map((text) => text.split(' ').map((token) => TOKENS.indexOf(token)))
  const ids = rows.flatMap((row) => [START, ...row, ...new Array<number>(TEXT.tokens - 1 - row.length).fill(END)])
  const states = clipTextStates(ids, reference)
  const ends = map(zeros([rows.length, TEXT.hidden]), (_, i) => {
    const row = Math.floor(i / TEXT.hidden)
    const end = row * TEXT.tokens + 1 + rows[row]!.length
    return states.data[end * TEXT.hidden + (i % TEXT.hidden)]!
  })
  return linear(ends, PROJECTIONS.text, zeros([WIDTH]))
}

const MEAN = [0.48145466, 0.4578275, 0.40821073]
const DEVIATION = [0.26862954, 0.26130258, 0.27577711]

/** Features [images, WIDTH] of planes u8 [images, 3, IMAGE_SIZE, IMAGE_SIZE] in float64. */
export function referenceImageFeatures(planes: Uint8Array, reference = IMAGE_REFERENCE): NdArray {
  const area = IMAGE_SIZE ** 2
  const bytes = fromValues([planes.length / (3 * area), 3, IMAGE_SIZE, IMAGE_SIZE], planes)
  const input = map(bytes, (value, i) => {
    const channel = Math.floor(i / area) % 3
    return (value / 255 - MEAN[channel]!) / DEVIATION[channel]!
  })
  return linear(classFeatures(input, reference), PROJECTIONS.image, zeros([WIDTH]))
}

/** The cosine of row i of one and row j of the other. */
export function cosine(a: NdArray, i: number, b: NdArray, j: number): number {
  const rowOf = ({ data, shape }: NdArray, row: number) => data.subarray(row * shape[1]!, (row + 1) * shape[1]!)
  const [x, y] = [rowOf(a, i), rowOf(b, j)]
  const product = (u: Float64Array, v: Float64Array) => u.reduce((sum, value, k) => sum + value * v[k]!, 0)
  return product(x, y) / Math.sqrt(product(x, x) * product(y, y))
}
