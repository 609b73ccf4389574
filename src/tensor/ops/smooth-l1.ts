import { native } from '../../native.ts'
import type { Tensor } from '../tensor.ts'
import { seededLoss } from './loss.ts'

/**
 * Per sample the mean of torch's smooth_l1_loss, d² / (2 beta) where |d| < beta, else |d| − beta / 2, d = prediction − target:
 * [B, ...] → [B]. While a tape records, also seeds its backward pass with the gradient of `weight` times the batch's mean, multiplied
 * by the loss scale of `scaling`, an optimizer's state. The target gets no gradient.
 */
export function smoothL1Loss(prediction: Tensor, target: Tensor, beta: number, weight = 1, scaling?: Tensor): Tensor {
  return seededLoss(prediction, (wantGradient) =>
    native().smoothL1Loss(prediction.handle, target.handle, beta, weight, scaling?.handle ?? null, wantGradient),
  )
}
