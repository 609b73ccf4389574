/**
 * Contrastive flow matching (arXiv 2506.05350): every prediction is also pushed away from what the model is to predict of another sample of
 * the batch, so that what differs between samples, their classes above all, weighs more than what they share. It needs no parameters and no
 * pass of its own.
 */
import { keyedRandom } from '../data/keyed-random.ts'
import type { World } from '../distributed/world.ts'
import { native } from '../native.ts'
import { velocityLoss } from '../tensor/ops/loss.ts'
import { gatherTokens } from '../tensor/ops/tokens.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface ContrastiveFlow {
  /** λ: of the distance that is subtracted from the training loss, below 1. */
  readonly weight: number
}

/** Keeps these draws apart from whatever else is drawn by seed and step: "nega" in ASCII. */
const NEGATIVE_STREAM = 0x6e_65_67_61

/**
 * The negative of each sample of a step: its place in the batch, any but the sample's own with the same probability, whatever its class
 * and whether or not its label is dropped, as in the reference's code.
 */
export function drawNegatives(batch: number, seed: number, step: number): Int32Array {
  const random = keyedRandom(seed, NEGATIVE_STREAM, step)
  return Int32Array.from({ length: batch }, (_, sample) => {
    const distance = 1 + Math.floor(random.uniform() * (batch - 1))
    return (sample + distance) % batch
  })
}

/** Of velocities [b, ...] of this process's samples: those at places i32 [b] of the whole batch, which all processes bring together. */
export function velocitiesAt(places: Tensor, own: Tensor, world: World): Tensor {
  const [samples] = own.shape as [number]
  return scope(() => {
    const all = world.size === 1 ? own : ofAllProcesses(own, world)
    const rows = [1, samples * world.size, own.elements / samples]
    return gatherTokens(all.reshape(rows), places.reshape([1, samples])).reshape(own.shape)
  })
}

function ofAllProcesses(own: Tensor, world: World): Tensor {
  const { elements } = own
  const all = Tensor.empty([world.size * elements], own.device)
  const share = all.slice(world.rank * elements, (world.rank + 1) * elements)
  native().copy(share.handle, own.reshape([elements]).handle)
  world.allGather(all, elements)
  return all
}

/**
 * Per sample, the mean of (prediction − negative)²: [B, ...] → [B]. While a tape records, the gradient of −`weight` times the batch's mean is
 * seeded.
 */
export function contrastiveLoss(prediction: Tensor, negatives: Tensor, weight: number, scaling?: Tensor): Tensor {
  return velocityLoss(prediction, negatives, -weight, scaling)
}
