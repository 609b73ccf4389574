import { type ClipTextConfig, clipTextConfigSchema } from '../../src/models/clip-text.ts'
import type { Device } from '../../src/tensor/device.ts'
import type { ComputeDType } from '../../src/tensor/dtype.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { embedding } from '../../src/tensor/ops/embedding.ts'
import { reshape } from '../../src/tensor/ops/reshape.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import type { CaptionEncoder } from '../../src/text/caption-encoder.ts'
import { random } from '../reference/array.ts'

const CODES = 128

/** A caption's characters are its tokens, as far as there is room, and a row of a table is the hidden state of each; 0 stands for none. */
export class TableCaptionEncoder implements CaptionEncoder {
  readonly name = 'table'
  readonly file = 'table.safetensors'
  readonly config: ClipTextConfig
  readonly #table: Tensor
  #dtype: ComputeDType = 'f32'

  constructor({ tokens = 5, width = 20, device = 'cpu' }: { tokens?: number; width?: number; device?: Device } = {}) {
    this.config = clipTextConfigSchema.parse({ vocabulary: CODES, tokens, hidden: width, depth: 1, heads: 1 })
    this.#table = Tensor.from(Float32Array.from(random([CODES, width], 31).data), [CODES, width], device)
  }

  get tokens(): number {
    return this.config.tokens
  }

  get width(): number {
    return this.config.hidden
  }

  get device(): Device {
    return this.#table.device
  }

  get parameterCount(): number {
    return this.#table.elements
  }

  computeIn(dtype: ComputeDType): void {
    this.#dtype = dtype
  }

  tokenize(captions: readonly string[]): Int32Array {
    const ids = new Int32Array(captions.length * this.tokens)
    for (const [i, caption] of captions.entries()) {
      for (let k = 0; k < Math.min(caption.length, this.tokens); k++) {
        ids[i * this.tokens + k] = caption.charCodeAt(k) % CODES
      }
    }
    return ids
  }

  features(ids: Tensor): Tensor {
    return scope(() => {
      const rows = embedding(this.#table, ids.reshape([ids.elements]))
      return cast(reshape(rows, [...ids.shape, this.width]), this.#dtype)
    })
  }

  [Symbol.dispose](): void {
    this.#table.dispose()
  }
}
