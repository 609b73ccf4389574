import { type ClipTextConfig, type ClipTextTransformer, clipTextName } from '../models/clip-text.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from './caption-encoder.ts'
import type { ClipTokenizer } from './clip-tokenizer.ts'

/** CLIP's text transformer with its tokenizer: see `loadCaptionEncoder`. */
export class ClipCaptionEncoder implements CaptionEncoder {
  readonly #model: ClipTextTransformer
  readonly file: string
  readonly #tokenizer: ClipTokenizer

  /** Takes the model over: disposing the encoder disposes it. */
  constructor(model: ClipTextTransformer, tokenizer: ClipTokenizer, file: string) {
    this.#model = model
    this.file = file
    this.#tokenizer = tokenizer
  }

  get name(): string {
    return clipTextName(this.config)
  }

  get config(): ClipTextConfig {
    return this.#model.config
  }

  get device(): Device {
    return this.#model.device
  }

  get width(): number {
    return this.config.hidden
  }

  get tokens(): number {
    return this.config.tokens
  }

  computeIn(dtype: ComputeDType): void {
    this.#model.computeIn(dtype)
  }

  tokenize(captions: readonly string[]): Int32Array {
    const ids = new Int32Array(captions.length * this.tokens)
    for (const [i, caption] of captions.entries()) ids.set(this.#tokenizer.encode(caption), i * this.tokens)
    return ids
  }

  features(ids: Tensor): Tensor {
    return this.#model.forward(ids)
  }

  [Symbol.dispose](): void {
    this.#model.dispose()
  }
}
