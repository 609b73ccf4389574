import { type NativeTensor, native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/** What an op makes that gives a loss and its gradient at once: where a tape records, its backward pass begins with the gradient. */
export function seededLoss(
  prediction: Tensor,
  run: (wantGradient: boolean) => readonly [loss: NativeTensor, gradient: NativeTensor | null],
): Tensor {
  const tape = recordingTape(prediction)
  const [loss, gradient] = run(tape !== undefined)
  if (gradient) tape!.seed(prediction, new Tensor(gradient, prediction.device))
  return new Tensor(loss, prediction.device)
}

/**
 * −mean over tokens of cos(projection, target), both [B, T, D] → [B]. While a tape records, also seeds its backward pass
 * with the gradient of `weight` times the batch's mean, made in the same pass, and multiplied by the loss scale of `scaling`, an
 * optimizer's state (`AdamW.scaling`). The target gets no gradient.
 */
export function cosineAlignmentLoss(projection: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  return seededLoss(projection, (wantGradient) =>
    native().cosineAlignmentLoss(projection.handle, target.handle, weight, scaling?.handle ?? null, wantGradient),
  )
}

/**
 * Per sample, the mean of (prediction − target)²: [B, ...] → [B]. While a tape records, also seeds its backward pass with
 * the gradient of `weight` times the batch's mean, multiplied by the loss scale of `scaling`, an optimizer's state.
 */
export function velocityLoss(prediction: Tensor, target: Tensor, weight = 1, scaling?: Tensor): Tensor {
  return seededLoss(prediction, (wantGradient) =>
    native().velocityLoss(prediction.handle, target.handle, weight, scaling?.handle ?? null, wantGradient),
  )
}

export interface HybridLossOptions {
  /** Of the mean of mse over the batch, in the caller's total. Default 1. */
  readonly mseWeight?: number
  /** Of the mean of vb. Default 1. */
  readonly vbWeight?: number
  /** Whether the bound teaches the prediction too, and not the variance alone. Default false. */
  readonly throughMean?: boolean
  /** An optimizer's state, whose loss scale multiplies the gradient. */
  readonly scaling?: Tensor
}

/**
 * DiT's losses of a prediction [B, 2C, ...] — of the target, then of the variance — for target and x0 [B, C, ...], t i32 [B] and the
 * schedule's table f64 [steps, 4] (native/cpu/hybrid_loss.h's HybridLossStep): per sample the mean squared error, and the variational
 * bound in bits a dimension, [B] each. While a tape records, also seeds its backward pass with the gradient of both, weighted.
 */
export function hybridLoss(
  prediction: Tensor,
  { target, x0, t, table }: { target: Tensor; x0: Tensor; t: Tensor; table: Tensor },
  { mseWeight = 1, vbWeight = 1, throughMean = false, scaling }: HybridLossOptions = {},
): { mse: Tensor; vb: Tensor } {
  const tape = recordingTape(prediction)
  const [mse, vb, gradient] = native().hybridLoss(
    prediction.handle,
    target.handle,
    x0.handle,
    t.handle,
    table.handle,
    mseWeight,
    vbWeight,
    throughMean,
    scaling?.handle ?? null,
    tape !== undefined,
  )
  if (gradient) tape!.seed(prediction, new Tensor(gradient, prediction.device))
  return { mse: new Tensor(mse, prediction.device), vb: new Tensor(vb, prediction.device) }
}

/** The mean of all elements, a scalar; summed in double. */
export function mean(x: Tensor): Tensor {
  return new Tensor(native().sum(x.handle, 1 / x.elements), x.device)
}
