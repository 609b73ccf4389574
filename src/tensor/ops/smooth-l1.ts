import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * Per sample the mean of torch's smooth_l1_loss, d² / (2 beta) where |d| < beta, else |d| − beta / 2, d = prediction − target:
 * [B, ...] → [B]. While a tape records, also seeds its backward pass with the gradient of `weight` times the batch's mean, multiplied
 * by the loss scale of `scaling`, an optimizer's state. The target gets no gradient.
 */
export function smoothL1Loss(prediction: Tensor, target: Tensor, beta: number, weight = 1, scaling?: Tensor): Tensor {
  const tape = recordingTape(prediction)
  const [loss, gradient] = native().smoothL1Loss(
    prediction.handle,
    target.handle,
    beta,
    weight,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(prediction, new Tensor(gradient, prediction.device))
  return new Tensor(loss, prediction.device)
}
