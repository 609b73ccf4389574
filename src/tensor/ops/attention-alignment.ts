import { native } from '../../native.ts'
import type { Tensor } from '../tensor.ts'
import { seededLoss } from './loss.ts'

/** Queries, keys and values of several heads, as attention reads them. */
export interface PackedHeads {
  /** [B, T, 3·H·d]. */
  readonly qkv: Tensor
  readonly heads: number
}

/**
 * Per sample the mean over the first `aligned` heads and over queries of −Σ P* log P, the cross-entropy of a model's attention P over keys
 * with a teacher's P*, head by head: [B]. The teacher's last T tokens are compared, with a softmax of their own (HASTE, arXiv 2505.16792).
 * While a tape records, also seeds its backward pass with the gradient of `weight` times the batch's mean in the model's queries and keys,
 * multiplied by the loss scale of `scaling`, an optimizer's state. The teacher gets no gradient.
 */
export function attentionAlignmentLoss(
  model: PackedHeads,
  teacher: PackedHeads,
  aligned: number,
  weight = 1,
  scaling?: Tensor,
): Tensor {
  return seededLoss(model.qkv, (wantGradient) =>
    native().attentionAlignmentLoss(
      model.qkv.handle,
      model.heads,
      teacher.qkv.handle,
      teacher.heads,
      aligned,
      weight,
      scaling?.handle ?? null,
      wantGradient,
    ),
  )
}
