import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * −mean over tokens of cos(projection, target), both [B, T, D] → [B]. While a tape records, also seeds its backward pass
 * with the gradient of `weight` times the batch's mean, made in the same pass, and multiplied by the loss scale of `scaling`, an
 * optimizer's state (`AdamW.scaling`). The target gets no gradient.
 */
export function cosineAlignmentLoss(projection: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  const tape = recordingTape(projection)
  const [loss, gradient] = native().cosineAlignmentLoss(
    projection.handle,
    target.handle,
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(projection, new Tensor(gradient, projection.device))
  return new Tensor(loss, projection.device)
}

/**
 * Per sample, the mean of (prediction − target)²: [B, ...] → [B]. While a tape records, also seeds its backward pass with
 * the gradient of `weight` times the batch's mean, multiplied by the loss scale of `scaling`, an optimizer's state.
 */
export function velocityLoss(prediction: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  const tape = recordingTape(prediction)
  const [loss, gradient] = native().velocityLoss(
    prediction.handle,
    target.handle,
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(prediction, new Tensor(gradient, prediction.device))
  return new Tensor(loss, prediction.device)
}

/** The mean of all elements, a scalar; summed in double. */
export function mean(x: Tensor): Tensor {
  return new Tensor(native().sum(x.handle, 1 / x.elements), x.device)
}
