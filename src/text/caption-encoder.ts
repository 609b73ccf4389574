import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseJson } from '../configuration/json.ts'
import { configBeside } from '../formats/config-beside.ts'
import { filesDigest } from '../formats/file-digest.ts'
import { ifThere, isThere } from '../formats/if-there.ts'
import { type ClipTextConfig, ClipTextTransformer, clipTextName } from '../models/clip-text.ts'
import { loaded } from '../models/model.ts'
import { openWeights } from '../models/weights-file.ts'
import { type Device, synchronize } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { clipTextConfig, clipTextState, statedClipText } from './clip-text-weights.ts'
import { ClipTokenizer } from './clip-tokenizer.ts'

/** A frozen text encoder, whose hidden states of captions a model is conditioned on. */
export interface CaptionEncoder extends Disposable {
  /** For records and messages: `clip-vit-L`. */
  readonly name: string
  /** The file of its weights. */
  readonly file: string
  readonly config: ClipTextConfig
  readonly device: Device
  /** Of a hidden state. */
  readonly width: number
  /** Of a caption, padding included. */
  readonly tokens: number
  /** Numbers in its state dict. */
  readonly parameterCount: number
  /** Lets it compute in another dtype from now on. */
  computeIn(dtype: ComputeDType): void
  /** The token ids of captions, those of each one behind the other: [captions.length · tokens]. */
  tokenize(captions: readonly string[]): Int32Array
  /**
   * Token ids i32 [B, tokens] → hidden states [B, tokens, width] in the dtype of computation. Nothing comes from the host: a captured CUDA
   * graph may hold it.
   */
  features(ids: Tensor): Tensor
}

export interface LoadCaptionEncoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** In what it computes, and what its hidden states are of. Default: f32; on a GPU any of them. */
  readonly dtype?: ComputeDType
}

/** CLIP's text transformer with its tokenizer. */
class ClipCaptionEncoder implements CaptionEncoder {
  readonly model: ClipTextTransformer
  readonly file: string
  readonly #tokenizer: ClipTokenizer

  /** Takes the model over: disposing the encoder disposes it. */
  constructor(model: ClipTextTransformer, tokenizer: ClipTokenizer, file: string) {
    this.model = model
    this.file = file
    this.#tokenizer = tokenizer
  }

  get name(): string {
    return clipTextName(this.config)
  }

  get config(): ClipTextConfig {
    return this.model.config
  }

  get device(): Device {
    return this.model.device
  }

  get width(): number {
    return this.config.hidden
  }

  get tokens(): number {
    return this.config.tokens
  }

  get parameterCount(): number {
    return this.model.parameterCount
  }

  computeIn(dtype: ComputeDType): void {
    this.model.computeIn(dtype)
  }

  tokenize(captions: readonly string[]): Int32Array {
    const ids = new Int32Array(captions.length * this.tokens)
    for (const [i, caption] of captions.entries()) ids.set(this.#tokenizer.encode(caption), i * this.tokens)
    return ids
  }

  features(ids: Tensor): Tensor {
    return this.model.forward(ids)
  }

  [Symbol.dispose](): void {
    this.model.dispose()
  }
}

/**
 * CLIP's text encoder, frozen, from a file of its weights (`.safetensors`, `.bin`, `.pt`) or from a folder with `model.safetensors` or
 * `pytorch_model.bin`, as a clone of a repository of the Transformers library is. Beside the weights lies its `tokenizer.json`. Weights are
 * read in that library's names and in OpenAI's (clip-text-weights.ts), with the image tower or without. Every size follows from the
 * tensors; what no shape tells is OpenAI's, QuickGELU and heads of 64 columns, unless a config.json beside the weights states another.
 *
 * @throws {Error} where there are no such files, they are of another model, or tokenizer and weights do not belong together;
 *   {RangeError} for a dtype that the device does not compute in; what the file readers throw
 */
export async function loadCaptionEncoder(
  path: string,
  { device = 'cpu', dtype = 'f32' }: LoadCaptionEncoderOptions = {},
): Promise<CaptionEncoder> {
  if (dtype !== 'f32' && device === 'cpu') {
    throw new RangeError(`The CPU computes in f32 only, not in ${dtype}; load the caption encoder with dtype f32.`)
  }
  const file = await captionEncoderWeights(path)
  const tokenizerFile = await tokenizerBeside(file)
  const beside = await configBeside(file)
  const stated = beside && statedClipText(parseJson(beside.text, beside.path), beside.path)
  await using source = await openWeights(file)
  const state = clipTextState(source)
  const config = clipTextConfig(state, stated)
  const tokenizer = await ClipTokenizer.open(tokenizerFile, { length: config.tokens })
  if (tokenizer.vocabulary !== config.vocabulary) {
    throw new Error(
      `${tokenizerFile} has ${tokenizer.vocabulary} tokens, and the token embedding of ${file} ${config.vocabulary}: they are not of one ` +
        'model. Take both from the same repository.',
    )
  }
  const model = await loaded(ClipTextTransformer.fromConfig(config, device), state)
  try {
    model.computeIn(dtype)
    await synchronize(device)
    return new ClipCaptionEncoder(model, tokenizer, file)
  } catch (error) {
    model.dispose()
    throw error
  }
}

async function tokenizerBeside(weights: string): Promise<string> {
  const file = join(dirname(weights), 'tokenizer.json')
  if (await isThere(file)) return file
  throw new Error(
    `There is no ${file}: captions become tokens by the tokenizer.json of the weights' repository ` +
      '(openai/clip-vit-large-patch14, say), which belongs beside the weights.',
  )
}

/**
 * SHA-256, in hexadecimal, of all that the hidden states of captions depend on: weights, tokenizer and what a config.json states. `path` is as
 * `loadCaptionEncoder` takes it.
 *
 * @throws {Error} where one of the files is not there
 */
export async function captionEncoderDigest(path: string): Promise<string> {
  const weights = await captionEncoderWeights(path)
  const config = await configBeside(weights)
  const files = [weights, await tokenizerBeside(weights), config?.path].filter((file) => file !== undefined)
  return await filesDigest(files)
}

/** What a folder's weights are called, the preferred format first. */
const FOLDER_WEIGHTS = ['model.safetensors', 'pytorch_model.bin'] as const

/**
 * The file of weights that a path means which names a caption encoder, or what `what` calls it: the file itself, or that in the folder.
 *
 * @throws {Error} where there is none
 */
export async function captionEncoderWeights(path: string, what = 'caption encoder'): Promise<string> {
  const found = await ifThere(stat(path))
  if (!found)
    throw new Error(
      `There is no ${what} ${path}: expected a file of CLIP's weights or a folder with one; name where it lies now.`,
    )
  if (!found.isDirectory()) return path
  for (const name of FOLDER_WEIGHTS) {
    const file = join(path, name)
    if (await isThere(file)) return file
  }
  throw new Error(
    `${path} holds no ${FOLDER_WEIGHTS.join(' or ')}, as a clone of openai/clip-vit-large-patch14 has them; name the file of the weights.`,
  )
}
