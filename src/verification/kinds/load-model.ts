import type { Model } from '../../models/model.ts'
import type { StateSource } from '../../nn/state-dict.ts'
import type { GoldenSet } from '../golden-set.ts'

/** Loads a model's weights and returns it, to compute as the set says; disposes it where they do not fit. The caller disposes it otherwise. */
export async function loadModel<M extends Model>(
  { dtype }: GoldenSet,
  model: M,
  weights: StateSource | Promise<StateSource>,
): Promise<M> {
  try {
    await model.load(await weights)
    model.computeIn(dtype)
    return model
  } catch (error) {
    model.dispose()
    throw error
  }
}
