import { native } from '../../native.ts'
import type { Tensor } from '../tensor.ts'
import { seededLoss } from './loss.ts'

/**
 * Per sample the mean over pixels of 1 − cos(prediction, target), vectors of the channels, by torch's cosine_similarity: [B, C, ...] → [B].
 * While a tape records, also seeds its backward pass with the gradient of `weight` times the batch's mean, multiplied by the loss scale of
 * `scaling`, an optimizer's state. Where the prediction is 0, as it is in a model's first step, that gradient is `target` / |target| · 10⁸.
 * The target gets none.
 */
export function velocityCosineLoss(prediction: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  return seededLoss(prediction, (wantGradient) =>
    native().velocityCosineLoss(prediction.handle, target.handle, weight, scaling?.handle ?? null, wantGradient),
  )
}
