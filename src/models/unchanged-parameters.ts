import type { Model } from './model.ts'

/**
 * For what asks a model again and again, and others of the program meanwhile: what this returns throws where the model's parameters are others
 * than they are now. `what` begins its sentence: what of the model has begun.
 */
export function unchangedParameters(model: Model, what: string): () => void {
  const { arena } = model
  const { version } = arena
  return () => {
    model.arena.requireAlive('weights')
    if (model.arena === arena && arena.version === version) return
    throw new Error(
      `${what} has begun with other parameters than the model has now (those were ${version}; these are ${model.arena.version}): a step, a ` +
        'load, computeIn or arena.use has come between, and what comes out would be of neither. Wait for its end first, or take a model of its own.',
    )
  }
}
