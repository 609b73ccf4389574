import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * Per sample the mean over pixels of 1 − cos(prediction, target), vectors of the channels, by torch's cosine_similarity: [B, C, ...] → [B].
 * While a tape records, also seeds its backward pass with the gradient of `weight` times the batch's mean, multiplied by the loss scale of
 * `scaling`, an optimizer's state. Where the prediction is 0, as it is in a model's first step, that gradient is `target` / |target| · 10⁸.
 * The target gets none.
 */
export function velocityCosineLoss(prediction: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  const tape = recordingTape(prediction)
  const [loss, gradient] = native().velocityCosineLoss(
    prediction.handle,
    target.handle,
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(prediction, new Tensor(gradient, prediction.device))
  return new Tensor(loss, prediction.device)
}
