/** HASTE's second loss (arXiv 2505.16792): the attention of a model's blocks pulled towards that of a frozen encoder's. */
import { attentionAlignmentLoss, type PackedHeads } from '../tensor/ops/attention-alignment.ts'
import { linearCombination } from '../tensor/ops/float64.ts'
import { mean } from '../tensor/ops/loss.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Blocks and heads that its code compares: of SiT's the blocks 5 to 8 with the encoder's last four, DINOv2-B's 9 to 12. */
const HASTE = { blocks: 4, heads: 12 }

export interface AttentionAlignment {
  /** HASTE's code has 0.5. */
  readonly weight: number
  /**
   * How many blocks are compared: of the model those up to the one whose output is aligned, of the encoder its last ones. Default: 4, or as
   * many as both have.
   */
  readonly blocks?: number | undefined
  /** Of each block, the first ones. Default: 12, or as many as both have. */
  readonly heads?: number | undefined
}

/** What is compared: blocks `from` to `to` of each, from 1, and so many heads. */
export interface ComparedAttention {
  readonly model: { readonly from: number; readonly to: number }
  readonly encoder: { readonly from: number; readonly to: number }
  readonly heads: number
}

interface Sizes {
  readonly blocks: number
  readonly heads: number
}

/**
 * @param model its heads, and the blocks up to the one whose output is aligned
 * @throws {RangeError} where there are fewer blocks or heads than are asked for
 */
export function comparedAttention(
  { blocks, heads }: AttentionAlignment,
  model: Sizes,
  encoder: Sizes,
): ComparedAttention {
  const wanted = { blocks, heads }
  const count = (what: 'blocks' | 'heads') => {
    const most = Math.min(model[what], encoder[what])
    const asked = wanted[what]
    if (asked === undefined) return Math.min(HASTE[what], most)
    if (Number.isInteger(asked) && asked >= 1 && asked <= most) return asked
    const own = what === 'blocks' ? `${model.blocks} up to the one that is aligned` : `${model.heads}`
    throw new RangeError(
      `The attention of ${asked} ${what} cannot be compared: the model has ${own}, the encoder ${encoder[what]}; expected 1 to ${most}.`,
    )
  }
  const last = (all: number) => ({ from: all - count('blocks') + 1, to: all })
  return { model: last(model.blocks), encoder: last(encoder.blocks), heads: count('heads') }
}

/**
 * The cross-entropy of the attention of every block with the encoder's, averaged over blocks, heads, queries and batch: a scalar (f64). While
 * a tape records, the gradient of `weight` times it is seeded, multiplied by the loss scale of `scaling`, an optimizer's state.
 */
export function attentionLoss(
  blocks: readonly PackedHeads[],
  targets: readonly PackedHeads[],
  heads: number,
  weight: number,
  scaling?: Tensor,
): Tensor {
  if (blocks.length !== targets.length || blocks.length === 0) {
    throw new RangeError(
      `attentionLoss: ${blocks.length} blocks for ${targets.length} of an encoder; expected as many, at least one.`,
    )
  }
  return scope(() => {
    const share = 1 / blocks.length
    const losses = blocks.map((own, i) =>
      mean(attentionAlignmentLoss(own, targets[i]!, heads, weight * share, scaling)),
    )
    return linearCombination(losses.map((loss) => [share, loss] as const))
  })
}
