import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'
import { attentionAlignmentWorkspace } from '../workspace.ts'

/** Doubles of partial sums: one for every chunk of the gradient (native/core/arena_range.h's neighbours). */
const CHUNK = 32_768

/** Losses, each with the gradient that seeds the backward pass, and the optimizer's pass. */
export const lossRules = (planner: Planner) => {
  const perSample = (x: NativeTensor) => planner.like(x, [plannedOf(x).size(0)], 'f32')
  return {
    cosineAlignmentLoss: (projection, _target, _weight, _state, wantGradient) => {
      const loss = perSample(projection)
      const gradient = wantGradient ? planner.like(projection) : null
      planner.workspace(4 * plannedOf(projection).size(0) * plannedOf(projection).size(1))
      return [loss, gradient]
    },
    velocityLoss: (prediction, _target, _weight, _state, wantGradient) => [
      perSample(prediction),
      wantGradient ? planner.like(prediction) : null,
    ],
    hybridLoss: (prediction, _target, _x0, _t, _table, _mse, _vb, _throughMean, _state, wantGradient) => [
      perSample(prediction),
      perSample(prediction),
      wantGradient ? planner.like(prediction) : null,
    ],
    velocityCosineLoss: (prediction, _target, _weight, _state, wantGradient) => [
      perSample(prediction),
      wantGradient ? planner.like(prediction) : null,
    ],
    attentionAlignmentLoss: (qkv, heads, teacher, teacherHeads, aligned, _weight, _state, wantGradient) => {
      const [batch, tokens, packed] = plannedOf(qkv).shape as [number, number, number]
      const dims = packed / 3 / heads
      const teacherDims = plannedOf(teacher).size(2) / 3 / teacherHeads
      const loss = perSample(qkv)
      const gradient = wantGradient ? planner.like(qkv) : null
      const sizes = { batch, tokens, dims, teacherDims, aligned }
      planner.workspace(attentionAlignmentWorkspace(sizes, isOnCpu(qkv) ? planner.machine.threads : undefined))
      // Scores of both, and two gradients of the model's.
      planner.ledger.addFlops(2 * batch * aligned * tokens ** 2 * (dims + teacherDims + (wantGradient ? 2 * dims : 0)))
      return [loss, gradient]
    },
    smoothL1Loss: (prediction, _target, _beta, _weight, _state, wantGradient) => [
      perSample(prediction),
      wantGradient ? planner.like(prediction) : null,
    ],
    l2Normalize: (x) => [planner.like(x, undefined, 'f32'), planner.like(x, plannedOf(x).shape.slice(0, -1), 'f32')],
    l2NormalizeBackward: (_dUnit, unit, _norms, dtype) => planner.like(unit, undefined, dtype),
    crossEntropyLoss: (logits, _temperature, _weight, _state, wantGradient) => [
      perSample(logits),
      wantGradient ? planner.like(logits) : null,
    ],
    squaredDistances: (x) => {
      const [batch, { elements }] = [plannedOf(x).size(0), plannedOf(x)]
      planner.ledger.addFlops(2 * batch * elements)
      return planner.like(x, [batch, batch], 'f32')
    },
    dispersiveLoss: (distances, _scale, _weight, _state, wantGradient) => [
      planner.like(distances, [1]),
      wantGradient ? planner.like(distances) : null,
    ],
    entropy: (p) => planner.like(p, plannedOf(p).shape.slice(0, -1)),
    distillationLoss: (student, _targets, _firstView, _temperature, _weight, _state, wantGradient) => [
      planner.like(student, plannedOf(student).shape.slice(0, -1)),
      wantGradient ? planner.like(student) : null,
    ],
    sumOfSquares: (gradient) => {
      planner.workspace(8 * Math.ceil(plannedOf(gradient).elements / CHUNK) * (isOnCpu(gradient) ? 1 : 2))
    },
    clipGradientNorm: () => {},
    adamW: () => {},
    followWeights: () => {},
  } satisfies Partial<NativeAddon>
}
