import type { Model } from '../../models/model.ts'
import type { StateSource } from '../../nn/state-dict.ts'

/** Loads a model's weights and returns it; disposes it where they do not fit. The caller disposes it otherwise. */
export async function loadModel<M extends Model>(model: M, weights: StateSource | Promise<StateSource>): Promise<M> {
  try {
    await model.load(await weights)
    return model
  } catch (error) {
    model.dispose()
    throw error
  }
}
