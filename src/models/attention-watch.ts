import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'

/** Is shown the queries, keys and values that a block's attention reads; they live as `Observe`'s tensors do. */
export type ShowHeads = (heads: PackedHeads) => void

/**
 * Blocks of a transformer, from 1, whose attention is looked at: `show` is called for each in their order. Of a differentiable pass the
 * gradient of a loss of what is shown flows back through them.
 */
export interface AttentionWatch {
  readonly from: number
  readonly to: number
  readonly show: ShowHeads
}

/** Who is to be shown what block `depth` has. */
export function watcherOf(watch: AttentionWatch | undefined, depth: number): ShowHeads | undefined {
  return watch && depth >= watch.from && depth <= watch.to ? watch.show : undefined
}
