import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from './caption-encoder.ts'

/** What stands for no caption: of a sample that has none, of one whose caption is dropped, and of what guidance leads away from. */
export const EMPTY_CAPTION = ''

/** @throws {RangeError} where the encoder is on another device than what reads its hidden states */
export function requireSameDevice(encoder: CaptionEncoder, device: Device): void {
  if (encoder.device === device) return
  throw new RangeError(
    `The caption encoder ${encoder.name} is on ${encoder.device}, and the model on ${device}; load both on one.`,
  )
}

/** The hidden states of captions, [captions, L, W], on the encoder's device. */
export function encodeCaptions(encoder: CaptionEncoder, captions: readonly string[]): Tensor {
  const { tokens, device } = encoder
  return scope(() => encoder.features(Tensor.from(encoder.tokenize(captions), [captions.length, tokens], device)))
}

/** Those of the empty caption, [1, L, W], as many times, [B, L, W]. */
export function repeatCaption(one: Tensor, times: number): Tensor {
  return scope(() => {
    const all = Tensor.empty([times, ...one.shape.slice(1)], one.device, one.dtype)
    for (let i = 0; i < times; i++) native().copy(all.slice(i, i + 1).handle, one.handle)
    return all
  })
}
