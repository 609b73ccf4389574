/** REPA's loss (arXiv 2410.06940, equation 8): projected hidden states pulled towards frozen encoders' features. */

import { linearCombination } from '../tensor/ops/float64.ts'
import { cosineAlignmentLoss, mean } from '../tensor/ops/loss.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/**
 * How far a projection is from an encoder's features, both [B, T, z]: a scalar (f64). While a tape records, the gradient of `weight`
 * times it is seeded, multiplied by the loss scale of `scaling`, an optimizer's state.
 */
export type FeatureLoss = (projection: Tensor, target: Tensor, weight: number, scaling: Tensor | undefined) => Tensor

/** REPA's own: −cos(projection, target), averaged over tokens and batch. */
const negativeCosine: FeatureLoss = (projection, target, weight, scaling) =>
  mean(cosineAlignmentLoss(projection, target, weight, scaling))

/**
 * `loss` of every projection and target, averaged over the encoders: a scalar (f64). Projections and targets [B, T, z], one of each for
 * every encoder. While a tape records, the gradient of `weight` times it is seeded, multiplied by the loss scale of
 * `scaling`, an optimizer's state.
 */
export function alignmentLoss(
  projections: readonly Tensor[],
  targets: readonly Tensor[],
  weight: number,
  scaling?: Tensor,
  loss: FeatureLoss = negativeCosine,
): Tensor {
  if (projections.length !== targets.length || projections.length === 0) {
    throw new RangeError(
      `alignmentLoss: ${projections.length} projections for ${targets.length} encoders' features; expected one each, at least one.`,
    )
  }
  return scope(() => {
    const share = 1 / projections.length
    const losses = projections.map((projection, k) => loss(projection, targets[k]!, weight * share, scaling))
    return linearCombination(losses.map((each) => [share, each] as const))
  })
}
