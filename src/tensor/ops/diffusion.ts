import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * coefficients[row, 0] · x + coefficients[row, 1] · y, sample by sample: x, y [B, ...], rows i32 [B], coefficients f64 [N, 2]. A row
 * outside the table gives NaN. Not differentiable.
 */
export function combineSamples(x: Tensor, y: Tensor, rows: Tensor, coefficients: Tensor): Tensor {
  return new Tensor(native().combineSamples(x.handle, y.handle, rows.handle, coefficients.handle), x.device)
}

/** coefficients[row, 0] · x, sample by sample: x [B, ...], rows i32 [B], coefficients f64 [N, 2]. */
export function scaleSamples(x: Tensor, rows: Tensor, coefficients: Tensor): Tensor {
  const tape = recordingTape(x)
  const scaled = (of: Tensor) =>
    new Tensor(native().combineSamples(of.handle, null, rows.handle, coefficients.handle), x.device)
  const out = scaled(x)
  tape?.push([out], [], (gradients) => gradients.add(x, scaled(gradients.take(out)!)))
  return out
}

/** The first channels of x [B, C, ...], or all of them with zeros behind: [B, channels, ...]. */
export function resizeChannels(x: Tensor, channels: number): Tensor {
  const tape = recordingTape(x)
  const resized = (of: Tensor, to: number) => new Tensor(native().resizeChannels(of.handle, to), x.device)
  const out = resized(x, channels)
  tape?.push([out], [], (gradients) => gradients.add(x, resized(gradients.take(out)!, x.shape[1]!)))
  return out
}

/**
 * Classifier-free guidance as DiT's forward_with_cfg: of a prediction [2B, C, ...], the conditional half before the unconditional one,
 * the first `channels` channels of both halves become u + scale · (c − u); the others stay. Not differentiable.
 */
export function guide(prediction: Tensor, scale: number, channels: number): Tensor {
  return new Tensor(native().guide(prediction.handle, scale, channels), prediction.device)
}

/** What a step back of a diffusion is made of; DDPM's and DDIM's are both of this form. */
export interface DenoisingStep {
  /** x_0 = x0FromX · x + x0FromPrediction · prediction, */
  readonly x0FromX: number
  readonly x0FromPrediction: number
  /** clipped to [−1, 1] where asked; */
  readonly clip: boolean
  /** the step's mean = meanFromX0 · x_0 + meanFromX · x; */
  readonly meanFromX0: number
  readonly meanFromX: number
  /** and of its noise the log-variance, between these two by the prediction's second half (v = −1: the first, 1: the second). */
  readonly logVariances: readonly [number, number]
}

/**
 * x f64 [B, C, ...], prediction [B, C, ...] or with v behind it [B, 2C, ...], noise f32 as x → f64, the state one step on. Without
 * noise, the step's mean. Not differentiable.
 */
export function denoisingStep(x: Tensor, prediction: Tensor, noise: Tensor | undefined, step: DenoisingStep): Tensor {
  const { x0FromX, x0FromPrediction, meanFromX0, meanFromX, logVariances, clip } = step
  const coefficients = [x0FromX, x0FromPrediction, meanFromX0, meanFromX, ...logVariances]
  return new Tensor(
    native().denoisingStep(x.handle, prediction.handle, noise?.handle ?? null, coefficients, clip),
    x.device,
  )
}
