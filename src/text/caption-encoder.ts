import type { ClipTextConfig } from '../models/clip-text.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'

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
