import type { AttentionWatch } from '../models/attention-watch.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** A frozen encoder that hidden states are aligned with. */
export interface Encoder extends Disposable {
  /** As the command line spells it: `dinov2-vit-b`, `hog`. */
  readonly name: string
  /** Width of a feature. */
  readonly width: number
  /** The grid of the images that it was trained on here. Without it: what is asked for is the published code's. */
  readonly grid?: readonly [rows: number, columns: number] | undefined
  /** Lets it compute in another dtype from now on, as the reference runs encoders under autocast. Without it: always in f32. */
  computeIn?(dtype: ComputeDType): void
  /** Whether `features` can give its class token too, behind its final norm: what REG denoises. Without it: it cannot. */
  readonly hasClassToken?: boolean
  /** Blocks and heads of the attention that `features` can show. Without it: it has none to show. */
  readonly attention?: { readonly blocks: number; readonly heads: number }
  /** Throws, in a sentence, where it has no features for a grid of this size. Without it: it has them for any. */
  requireGrid?(grid: readonly [rows: number, columns: number]): void
  /**
   * RGB images u8 [B, 3, H, W] → one feature for every cell of a grid [rows, columns], row-major: [B, rows·columns, width]; with
   * `classToken` that before them, [B, 1 + rows·columns, width].
   */
  features(images: Tensor, grid: readonly [rows: number, columns: number], options?: FeatureOptions): Tensor
}

export interface FeatureOptions {
  /** Default false. Only of an encoder that has one. */
  readonly classToken?: boolean
  /** Shows what attention reads in some of the blocks; the last rows·columns tokens are the grid's. Only of an encoder that has `attention`. */
  readonly attention?: AttentionWatch | undefined
}
