import type { Dataset } from '../data/dataset.ts'
import { oneAhead } from '../data/one-ahead.ts'
import { noticeUnfinished } from '../diffusion/unfinished-sampling.ts'
import type { Device } from '../tensor/device.ts'
import { toPlanes } from '../tensor/planes.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type CaptionedImages, captionedDataset, openCaptionedSamples } from './captioned-images.ts'
import { clipInput } from './clip-input.ts'
import { type Clip, loadClip } from './clip-model.ts'
import { requireClipScoreOptions } from './evaluation-options.ts'

/** What is scored. */
export type ScoredImages =
  | {
      /** A folder or zip of images, or an npz (`arr_0`). */
      readonly samples: string
      /** A file of their captions, a line an image, in the order of the images' paths. Default: prompts.txt of the folder of samples. */
      readonly captions?: string | undefined
      readonly data?: undefined
    }
  | {
      /** Real images, each with the first of its captions. */
      readonly data: Dataset
      readonly samples?: undefined
      readonly captions?: undefined
    }

export type EvaluateClipScoreOptions = ScoredImages & {
  /** The whole CLIP: its file, or the folder of it. */
  readonly clip: string
  readonly device: Device
  /** Images that pass through CLIP at a time. */
  readonly batch: number
  readonly signal?: AbortSignal | undefined
  /** Called with 0 once CLIP is loaded, and after each batch. */
  readonly onProgress?: (done: number, total: number) => void
  /** Is told, in a sentence, what makes the number less than it seems. */
  readonly onNotice?: (sentence: string) => void
}

export interface ClipScore {
  readonly kind: 'clip'
  /** As OpenAI calls it: `ViT-L/14`. */
  readonly network: string
  /** SHA-256 of the file of CLIP's weights. */
  readonly sha256: string
  /** Images that were scored. */
  readonly images: number
  /** Images that were left out, for they have no caption. */
  readonly withoutCaption: number
  /** The mean of the cosines of an image's features and its caption's. */
  readonly cosine: number
  /** Of that mean; null of one image. */
  readonly standardError: number | null
}

/**
 * How well images fit their captions, by CLIP: the mean cosine of the projected features of an image and of its caption, which REPA's
 * generate_t2i.py prints. In papers the CLIP score is a hundred times that, negative ones counted as 0 (CLIPScore, arXiv 2104.08718, takes
 * 250). Images are seen as OpenAI's own transform shows them (clip-input.ts). Features are f32, cosines of them float64.
 *
 * @throws {ConfigurationError} for options that are none; {Error} in a sentence where images have no captions or not as many, for files that hold no CLIP, and for features that are not
 *   finite; what the file readers throw
 */
export async function evaluateClipScore(options: EvaluateClipScoreOptions): Promise<ClipScore> {
  requireClipScoreOptions(options)
  const { device, batch, signal, onProgress, onNotice = () => {} } = options
  if (options.samples !== undefined) await noticeUnfinished(options.samples, onNotice)
  await using images =
    options.data === undefined
      ? await openCaptionedSamples(options.samples, options.captions)
      : captionedDataset(options.data)
  if (images.count === 0) throw new Error(`${images.path} has no image with a caption: there is nothing to score.`)
  using clip = await loadClip(options.clip, { device })
  const cosines = new Float64Array(images.count)
  let done = 0
  onProgress?.(0, images.count)
  const ran = oneAhead(batches(images, batch, clip.imageSize), (seen) => {
    signal?.throwIfAborted()
    return cosinesOf(clip, seen, device)
  })
  for await (const found of ran) {
    cosines.set(found, done)
    done += found.length
    onProgress?.(done, images.count)
  }
  const { name: network, sha256 } = clip
  const { count, withoutCaption } = images
  return { kind: 'clip', network, sha256, images: count, withoutCaption, ...meanOf(cosines) }
}

/** What CLIP sees of a batch. */
interface ClipBatch {
  /** For messages. */
  readonly names: readonly string[]
  readonly captions: readonly string[]
  /** [B, 3, size, size], bytes. */
  readonly planes: Uint8Array
}

/** Images are resized as they come, which is while the batch before is in CLIP, and only what CLIP sees of them is held. */
async function* batches(images: CaptionedImages, batch: number, size: number): AsyncGenerator<ClipBatch> {
  const length = 3 * size * size
  let [names, captions]: [string[], string[]] = [[], []]
  let planes = new Uint8Array(0)
  for await (const { name, caption, image } of images.read()) {
    if (names.length === 0) planes = new Uint8Array(Math.min(batch, images.count) * length)
    toPlanes(clipInput(image, size), planes, names.length * length)
    names.push(name)
    captions.push(caption)
    if (names.length < batch) continue
    yield { names, captions, planes }
    ;[names, captions] = [[], []]
  }
  if (names.length > 0) yield { names, captions, planes: planes.subarray(0, names.length * length) }
}

/** All is enqueued before the first wait. */
async function cosinesOf(clip: Clip, { names, captions, planes }: ClipBatch, device: Device): Promise<Float64Array> {
  const size = clip.imageSize
  using pixels = Tensor.from(planes, [names.length, 3, size, size], device)
  using imageFeatures = clip.imageFeatures(pixels)
  using textFeatures = clip.textFeatures(captions)
  const [ofImages, ofTexts] = await Promise.all([imageFeatures.data(), textFeatures.data()])
  return Float64Array.from(names, (name, i) => {
    const [from, to] = [i * clip.width, (i + 1) * clip.width]
    const cosine = cosineOf(ofImages.subarray(from, to), ofTexts.subarray(from, to))
    if (Number.isFinite(cosine)) return cosine
    throw new Error(`The cosine of ${name} and its caption is ${cosine}; check the weights of CLIP in ${clip.file}.`)
  })
}

function cosineOf(a: Float32Array, b: Float32Array): number {
  let [product, ofA, ofB] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!
    ofA += a[i]! ** 2
    ofB += b[i]! ** 2
  }
  return product / Math.sqrt(ofA) / Math.sqrt(ofB)
}

function meanOf(values: Float64Array): Pick<ClipScore, 'cosine' | 'standardError'> {
  const count = values.length
  const mean = values.reduce((sum, value) => sum + value, 0) / count
  if (count === 1) return { cosine: mean, standardError: null }
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { cosine: mean, standardError: Math.sqrt(squares / (count - 1) / count) }
}
