import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { ClipTextTransformer } from '../models/clip-text.ts'
import { clipTextConfig, clipTextState, statedClipText } from '../models/clip-text-weights.ts'
import { loaded } from '../models/model.ts'
import { openWeights } from '../models/weights-file.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type Device, synchronize } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { CaptionEncoder } from './caption-encoder.ts'
import { ClipCaptionEncoder } from './clip-caption-encoder.ts'
import { type ClipFiles, clipFiles, requireTokenizer } from './clip-files.ts'
import { ClipTokenizer } from './clip-tokenizer.ts'

export interface LoadCaptionEncoderOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** In what it computes, and what its hidden states are of. Default: f32; on a GPU any of them. */
  readonly dtype?: ComputeDType
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    device: z.string().optional(),
    dtype: z.enum(['f32', 'bf16', 'f16']).optional(),
  } satisfies Record<keyof LoadCaptionEncoderOptions, z.ZodType>),
)

/**
 * CLIP's text encoder, frozen, from a file of its weights (`.safetensors`, `.bin`, `.pt`) or from a folder with `model.safetensors` or
 * `pytorch_model.bin`, as a clone of a repository of the Transformers library is. Beside the weights lies its `tokenizer.json`. Weights are
 * read in that library's names and in OpenAI's (models/clip-text-weights.ts), with the image tower or without. Every size follows from the
 * tensors; what no shape tells is OpenAI's, QuickGELU and heads of 64 columns, unless a config.json beside the weights states another.
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no such file; {Error} where files are missing,
 *   they are of another model, or tokenizer and weights do not belong together; {RangeError} for a dtype that the device does not compute in; what the file readers throw
 */
export async function loadCaptionEncoder(
  path: string,
  options: LoadCaptionEncoderOptions = {},
): Promise<CaptionEncoder> {
  parseConfiguration(optionsSchema(), options, "the caption encoder's options")
  const { device = 'cpu', dtype = 'f32' } = options
  if (dtype !== 'f32' && device === 'cpu') {
    throw new RangeError(`The CPU computes in f32 only, not in ${dtype}; load the caption encoder with dtype f32.`)
  }
  const files = await clipFiles(path)
  await using source = await openWeights(files.weights)
  return await captionEncoderFrom(files, source, { device, dtype })
}

/** The same from weights that are open already. */
export async function captionEncoderFrom(
  files: ClipFiles,
  source: StateSource,
  { device, dtype = 'f32' }: { readonly device: Device; readonly dtype?: ComputeDType },
): Promise<CaptionEncoder> {
  const stated = files.config && statedClipText(parseJson(files.config.text, files.config.path), files.config.path)
  const state = clipTextState(source)
  const config = clipTextConfig(state, stated)
  const tokenizer = await ClipTokenizer.open(await requireTokenizer(files), { length: config.tokens })
  if (tokenizer.vocabulary !== config.vocabulary) {
    throw new Error(
      `${files.tokenizer} has ${tokenizer.vocabulary} tokens, and the token embedding of ${files.weights} ${config.vocabulary}: they are ` +
        'not of one model. Take both from the same repository.',
    )
  }
  const model = await loaded(ClipTextTransformer.fromConfig(config, device), state)
  try {
    model.computeIn(dtype)
    await synchronize(device)
    return new ClipCaptionEncoder(model, tokenizer, files.weights)
  } catch (error) {
    model.dispose()
    throw error
  }
}
