/** A step of training a model of text, as its tables take it: what it is to predict, and what its hidden states are aligned with. */
import type { SiT } from '../../src/models/sit.ts'
import { cosineAlignmentLoss, velocityLoss } from '../../src/tensor/ops/loss.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import type { NdArray } from '../reference/array.ts'
import { cosineAlignmentLoss as referenceAlignment } from '../reference/cosine-alignment-loss.ts'
import type { MmditOutput } from '../reference/mmdit.ts'
import { velocityLoss as referenceVelocity } from '../reference/velocity-loss.ts'
import { narrowValues } from '../tensor/narrow.ts'
import { uploaded } from './velocity-step.ts'

export interface JointBatch {
  /** [B, C, H, W], as the target. */
  readonly x: NdArray
  readonly t: NdArray
  /** [B, L, W]. */
  readonly text: NdArray
  readonly target: NdArray
  /** Of every encoder, [B, T, z]. */
  readonly features: readonly NdArray[]
}

const ALIGNMENT_WEIGHT = 0.5

/** What a step is to minimise, of what the float64 reference makes. */
export function jointLoss({ velocity, projections }: MmditOutput, { target, features }: JointBatch): number {
  const alignment = projections.reduce((sum, z, k) => sum + referenceAlignment(z, features[k]!), 0)
  return referenceVelocity(velocity, target).loss + ALIGNMENT_WEIGHT * alignment
}

export interface JointStepOptions {
  readonly recompute?: Recomputation
  /** Adds to the gradients that are there. */
  readonly accumulate?: boolean
  /** Multiplies the loss, as f16's small range wants it. */
  readonly lossScale?: number
}

/** The prediction and the projections, and the gradients in the arena. */
export async function jointStep(
  model: SiT,
  { x, t, text, target, features }: JointBatch,
  { recompute = 'none', accumulate = false, lossScale = 1 }: JointStepOptions = {},
): Promise<{ readonly prediction: NdArray; readonly projections: readonly NdArray[] }> {
  const { device } = model
  if (!model.arena.parameters.some(({ gradient }) => gradient)) model.arena.allocateGradients()
  const { prediction, projections } = scope(() => {
    const [input, times, captions, wanted] = [x, t, text, target].map((array) => uploaded(array, device)) as [
      ...[Tensor, Tensor, Tensor, Tensor],
    ]
    const targets = features.map((array) => uploaded(array, device))
    using tape = new Tape({ recompute, accumulate })
    const out = tape.record(() => {
      const { prediction, projections } = model.forward(input, times, captions, { project: targets.length > 0 })
      velocityLoss(prediction, wanted, lossScale)
      for (const [k, z] of projections.entries()) cosineAlignmentLoss(z, targets[k]!, lossScale * ALIGNMENT_WEIGHT)
      return { prediction, projections: [...projections] }
    })
    tape.backward(model.arena.parameters).dispose()
    return out
  })
  const values = {
    prediction: await narrowValues(prediction),
    projections: await Promise.all(projections.map(narrowValues)),
  }
  for (const tensor of [prediction, ...projections]) tensor.dispose()
  return values
}
