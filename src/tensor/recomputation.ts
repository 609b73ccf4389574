/**
 * What a backward pass computes again instead of keeping it: nothing, or what single passes over what is kept give back with the same
 * bits (activations, LayerNorms with their modulations, every other state of the residual stream).
 */
export const RECOMPUTATIONS = ['none', 'elementwise'] as const

export type Recomputation = (typeof RECOMPUTATIONS)[number]

/** What `--recompute` takes where the memory that there is may decide (`trainingSchema`). */
export const RECOMPUTE_SETTINGS = ['auto', ...RECOMPUTATIONS] as const
