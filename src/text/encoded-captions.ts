import type { Device } from '../tensor/device.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from './caption-encoder.ts'

/** What stands for no caption: of a sample that has none, of one whose caption is dropped, and of what guidance leads away from. */
export const EMPTY_CAPTION = ''

/** A model of text: how many hidden states of a caption it reads, and of what width. */
interface TextReader {
  readonly text: { readonly tokens: number; readonly width: number }
  readonly device: Device
}

/**
 * @param advice what to do about an encoder of other sizes; default: of a model that is trained
 * @throws {RangeError} where the encoder is on another device than the model, or its hidden states are of other sizes than the model reads
 */
export function requireFittingEncoder(
  encoder: CaptionEncoder,
  { text, device }: TextReader,
  advice = 'name the one that it was trained with by `captionEncoder`',
): void {
  const { name, tokens, width } = encoder
  if (encoder.device !== device) {
    throw new RangeError(
      `The caption encoder ${name} is on ${encoder.device}, and the model on ${device}; load both on one.`,
    )
  }
  if (tokens === text.tokens && width === text.width) return
  throw new RangeError(
    `The caption encoder ${name} makes ${tokens} hidden states of ${width}, and the model reads ${text.tokens} of ${text.width}; ${advice}.`,
  )
}

/** The hidden states of captions, [captions, L, W], on the encoder's device. */
export function encodeCaptions(encoder: CaptionEncoder, captions: readonly string[]): Tensor {
  const { tokens, device } = encoder
  return scope(() => encoder.features(Tensor.from(encoder.tokenize(captions), [captions.length, tokens], device)))
}
