import type { Dataset } from '../data/dataset.ts'
import { requireAlike } from '../distributed/require-alike.ts'
import type { World } from '../distributed/world.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'

/** What all processes of a training have to agree on before its first step, besides the model's configuration and the data. */
export interface SharedSettings {
  readonly step: number
  readonly batch: number
  readonly accumulate: number
  readonly seed: number
  readonly learningRate: number
}

/**
 * Holds the processes of a training to one computation, and lets all begin with the leader's weights, as PyTorch's
 * DistributedDataParallel does, and their averages.
 *
 * @throws {Error} in the processes whose settings are not the leader's
 */
export async function beginAlike(
  world: World,
  model: AnyTransformer,
  data: Dataset,
  settings: SharedSettings,
): Promise<void> {
  if (world.size === 1) return
  const own = { images: data.length, dataDigest: data.digest, ...settings, model: model.config }
  const leaders = await world.agree(own)
  requireAlike(own, leaders)
  const { arena } = model
  world.broadcast([arena.array('weights'), arena.array('ema')])
  arena.refreshCompute()
}
