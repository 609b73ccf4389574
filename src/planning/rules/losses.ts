import type { NativeAddon, NativeTensor } from '../../native.ts'
import { plannedOf } from '../planned-tensor.ts'
import { isOnCpu, type Planner } from '../planner.ts'

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
    clipGradientNorm: (gradient) => {
      planner.workspace(8 * Math.ceil(plannedOf(gradient).elements / CHUNK) * (isOnCpu(gradient) ? 1 : 2))
    },
    adamW: () => {},
  } satisfies Partial<NativeAddon>
}
