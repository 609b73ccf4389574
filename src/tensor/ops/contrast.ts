import { native } from '../../native.ts'
import { allowTf32Meanwhile } from '../device.ts'
import type { ComputeDType } from '../dtype.ts'
import { recordingTape } from '../tape.ts'
import { computeDType, Tensor } from '../tensor.ts'

/** Of a loss that seeds a recording tape with its own gradient. */
export interface ContrastOptions {
  /** Default 1. */
  readonly weight?: number
  /** An optimizer's state (`AdamW.scaling`), by whose loss scale the gradient is multiplied. */
  readonly scaling?: Tensor
}

/**
 * Cross entropy of matching rows: projection and target [N, D] in groups of `group` rows, the last of which may be smaller → [N],
 * −log softmax over the group's targets of cos(projection, target) / temperature, at the row's own target. While a tape records, also
 * seeds its backward pass with the gradient of `weight` times the mean. The target gets no gradient. In f32 inside; a group's
 * similarities take group² floats at a time.
 */
export function matchingLoss(
  projection: Tensor,
  target: Tensor,
  { group, temperature, weight = 1, scaling }: ContrastOptions & { group: number; temperature: number },
): Tensor {
  const tape = recordingTape(projection)
  const [rows] = projection.shape as [number]
  const { device } = projection
  const { unit, norms } = normalized(projection)
  const { unit: targets, norms: targetNorms } = normalized(target)
  targetNorms.dispose()
  const losses = Tensor.empty([rows], device)
  const dUnit = tape && Tensor.empty(projection.shape, device)
  for (let begin = 0; begin < rows; begin += group) {
    const end = Math.min(rows, begin + group)
    using own = unit.slice(begin, end)
    using others = targets.slice(begin, end)
    const [logits] = native().linear(own.handle, others.handle, null, 'none', false, 'f32')
    const [loss, dLogits] = native().crossEntropyLoss(
      logits,
      temperature,
      weight / rows,
      scaling?.handle ?? null,
      tape !== undefined,
    )
    native().dispose(logits)
    using lossSlice = losses.slice(begin, end)
    native().copy(lossSlice.handle, loss)
    native().dispose(loss)
    if (!dLogits || !dUnit) continue
    using gradientSlice = dUnit.slice(begin, end)
    const gradient = native().linearInputGradient(dLogits, others.handle, null, 'none', null, false)
    native().copy(gradientSlice.handle, gradient)
    native().dispose(gradient)
    native().dispose(dLogits)
  }
  if (dUnit) {
    const dtype: ComputeDType = computeDType(projection)
    const gradient = native().l2NormalizeBackward(dUnit.handle, unit.handle, norms.handle, dtype)
    tape!.seed(projection, new Tensor(gradient, device))
  }
  for (const tensor of [unit, norms, targets, dUnit]) tensor?.dispose()
  return losses
}

/** x / max(|x|, 1e-12) over the last axis, f32: torch.nn.functional.normalize. */
export function l2Normalize(x: Tensor): Tensor {
  const tape = recordingTape(x)
  const { unit, norms } = normalized(x)
  if (!tape) norms.dispose()
  tape?.push([unit], [norms], (gradients) => {
    const dUnit = gradients.take(unit)!
    const dX = native().l2NormalizeBackward(dUnit.handle, unit.handle, norms.handle, computeDType(x))
    gradients.add(x, new Tensor(dX, x.device))
  })
  return unit
}

function normalized(x: Tensor): { unit: Tensor; norms: Tensor } {
  const [unit, norms] = native().l2Normalize(x.handle)
  return { unit: new Tensor(unit, x.device), norms: new Tensor(norms, x.device) }
}

/**
 * log mean over all pairs (i, j) of exp(−|x_i − x_j|² / (temperature · F)) for samples x f32 [B, ...] of F elements: [1]. While a tape
 * records, also seeds its backward pass with the gradient of `weight` times it.
 */
export function dispersion(
  x: Tensor,
  { temperature, weight = 1, scaling }: ContrastOptions & { temperature: number },
): Tensor {
  const tape = recordingTape(x)
  const [batch] = x.shape as [number]
  const size = x.elements / batch
  const distances = native().squaredDistances(x.handle)
  const [loss, pull] = native().dispersiveLoss(
    distances,
    1 / (temperature * size),
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  native().dispose(distances)
  if (pull) {
    using samples = x.reshape([batch, size])
    // Its sums are differences of samples, which may have much in common: rounded to tf32 first, they would be those of the roundings.
    using _exact = allowTf32Meanwhile(x.device, false)
    using flat = new Tensor(native().linearInputGradient(pull, samples.handle, null, 'none', null, false), x.device)
    tape!.seed(x, flat.reshape(x.shape))
    native().dispose(pull)
  }
  return new Tensor(loss, x.device)
}
