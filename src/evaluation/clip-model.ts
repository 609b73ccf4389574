import { statedClipImage } from '../alignment/clip.ts'
import { parseJson } from '../configuration/json.ts'
import { fileDigest } from '../formats/file-digest.ts'
import { CLIP } from '../models/image-normalisation.ts'
import { loaded } from '../models/model.ts'
import { VisionTransformer } from '../models/vit.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import { openWeights } from '../models/weights-file.ts'
import type { Device } from '../tensor/device.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import { linear } from '../tensor/ops/linear.ts'
import { normalizeImages } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { clipFiles } from '../text/clip-files.ts'
import { captionEncoderFrom } from '../text/load-caption-encoder.ts'
import { type ClipProjection, clipImageTower, clipProjections } from './clip-weights.ts'

/** OpenAI's names of widths and depths. */
const LETTERS: Readonly<Record<string, string>> = { '768x12': 'B', '1024x24': 'L' }

/** As OpenAI calls its models: `ViT-L/14`, `ViT-L/14@336px`; of other sizes what tells them. */
function nameOf({ hidden, depth, patch, imageSize }: VisionTransformerConfig): string {
  const sizes = `${hidden}x${depth}`
  return `ViT-${LETTERS[sizes] ?? sizes}/${patch}${imageSize === 224 ? '' : `@${imageSize}px`}`
}

/** The parts of a CLIP, which takes them over. */
interface Parts {
  readonly image: VisionTransformer
  readonly text: CaptionEncoder
  readonly imageProjection: Tensor
  readonly textProjection: Tensor
  /** Of the file of weights. */
  readonly sha256: string
}

/**
 * CLIP (arXiv 2103.00020), frozen: an image tower and a text tower with projections into one space, in which the cosine of an image and a
 * text says how well they fit. It computes in f32.
 */
export class Clip implements Disposable {
  /** `ViT-L/14`. */
  readonly name: string
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.name = nameOf(parts.image.config)
    this.#parts = parts
  }

  /** The file of its weights. */
  get file(): string {
    return this.#parts.text.file
  }

  /** SHA-256 of that file, in hexadecimal. */
  get sha256(): string {
    return this.#parts.sha256
  }

  /** Side of the images that it sees. */
  get imageSize(): number {
    return this.#parts.image.config.imageSize
  }

  /** Of a feature. */
  get width(): number {
    return this.#parts.imageProjection.shape[0]!
  }

  /** Images u8 [B, 3, imageSize, imageSize] → features [B, width]: of the class token, behind ln_post, projected. */
  imageFeatures(images: Tensor): Tensor {
    const { image, imageProjection } = this.#parts
    return scope(() => {
      const { clsToken } = image.forward(normalizeImages(images, { divisor: 255, ...CLIP }))
      return linear(clsToken!, { weight: imageProjection, bias: undefined })
    })
  }

  /** Captions → features [B, width]: of the first token that ends a text, behind ln_final, projected. */
  textFeatures(captions: readonly string[]): Tensor {
    const { text, textProjection } = this.#parts
    const { tokens, width, device } = text
    const ids = text.tokenize(captions)
    // Captions are filled up with the token that ends them, so that the last is always one.
    const ends = Int32Array.from(
      captions,
      (_, i) => i * tokens + firstOfItsLast(ids.subarray(i * tokens, (i + 1) * tokens)),
    )
    return scope(() => {
      const states = text.features(Tensor.from(ids, [captions.length, tokens], device))
      const last = embedding(states.reshape([ends.length * tokens, width]), Tensor.from(ends, [ends.length], device))
      return linear(last, { weight: textProjection, bias: undefined })
    })
  }

  [Symbol.dispose](): void {
    const { image, text, imageProjection, textProjection } = this.#parts
    image.dispose()
    text[Symbol.dispose]()
    imageProjection.dispose()
    textProjection.dispose()
  }
}

const firstOfItsLast = (ids: Int32Array) => ids.indexOf(ids.at(-1)!)

/**
 * A whole CLIP from one file, or from a folder that is a clone of a repository of the Transformers library, such as
 * openai/clip-vit-large-patch14: its CLIPModel, or OpenAI's own file (ViT-L-14.pt) or state dict, whose names open_clip has too. Beside the
 * weights lies the tokenizer.json. Sizes follow from the tensors; what no shape tells is OpenAI's, QuickGELU and heads of 64 columns, unless
 * a config.json beside the weights states another.
 *
 * @throws {Error} where there are no such files, or a tower or its projection is missing or does not fit; what the file readers throw
 */
export async function loadClip(path: string, { device }: { readonly device: Device }): Promise<Clip> {
  const files = await clipFiles(path, 'CLIP')
  const { weights: file, config: beside } = files
  const stated = beside && statedClipImage(parseJson(beside.text, beside.path), beside.path)
  await using source = await openWeights(file)
  const projections = await clipProjections(source)
  const { state, config } = clipImageTower(source, stated)
  requireWidth(file, 'image', projections.image, config.hidden)
  const sha256 = await fileDigest(file)
  const opened: Disposable[] = []
  const open = <T extends Disposable>(part: T): T => {
    opened.push(part)
    return part
  }
  try {
    const text = open(await captionEncoderFrom(files, source, { device }))
    requireWidth(file, 'text', projections.text, text.width)
    const image = open(await loaded(VisionTransformer.fromConfig(config, device), state))
    const imageProjection = open(Tensor.from(projections.image.values, projections.image.shape, device))
    const textProjection = open(Tensor.from(projections.text.values, projections.text.shape, device))
    return new Clip({ image, text, imageProjection, textProjection, sha256 })
  } catch (error) {
    for (const part of opened) part[Symbol.dispose]()
    throw error
  }
}

function requireWidth(file: string, tower: string, { shape }: ClipProjection, width: number): void {
  if (shape[1] === width) return
  throw new Error(
    `${file}: the projection of the ${tower} tower is of ${shape[1]} features, and the tower of ${width}; they do not fit.`,
  )
}
