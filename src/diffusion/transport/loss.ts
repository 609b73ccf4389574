import { combineSamples, scaleSamples } from '../../tensor/ops/diffusion.ts'
import { velocityLoss } from '../../tensor/ops/loss.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { pathDiffusion, pathPoint } from './path.ts'
import type { Transport } from './transport.ts'

export const LOSS_WEIGHTS = ['velocity', 'likelihood'] as const

/** How errors of noise and score are weighted: as errors of the velocity, or so that the loss bounds the likelihood. */
export type TransportLossWeight = (typeof LOSS_WEIGHTS)[number]

/** Samples on the path: noise x0 and data x1 [B, ...] at the times t → x_t and the velocity u_t there (PathSampler.plan). */
export function transportPlan(
  { path }: Transport,
  { x0, x1, t }: { readonly x0: Tensor; readonly x1: Tensor; readonly t: readonly number[] },
): { xt: Tensor; ut: Tensor } {
  const points = t.map((time) => pathPoint(path, time))
  const mixed = (coefficients: readonly (readonly [ofData: number, ofNoise: number])[]) =>
    combineSamples(x1, x0, eachRow(t.length, x1), tableOf(coefficients, x1))
  return {
    xt: mixed(points.map(({ alpha, sigma }) => [alpha, sigma])),
    ut: mixed(points.map(({ dAlpha, dSigma }) => [dAlpha, dSigma])),
  }
}

/**
 * The loss of each sample [B] (Transport.training_losses): the mean squared error of the velocity u_t; of the noise x0; or of σ times
 * the score, whose truth is −x0; the latter two times their weight. While a tape records, seeds it with the gradient of their mean.
 */
export function transportLoss(
  transport: Transport,
  prediction: Tensor,
  { x0, ut, t }: { readonly x0: Tensor; readonly ut: Tensor; readonly t: readonly number[] },
  weight?: TransportLossWeight,
): Tensor {
  if (transport.prediction === 'velocity') return velocityLoss(prediction, ut)
  const isScore = transport.prediction === 'score'
  // √weight goes into both sides of the difference that is squared.
  const factors = t.map((time) => {
    const point = pathPoint(transport.path, time)
    const root = Math.sqrt(weightOf(pathDiffusion(point, transport.path), point.sigma, weight))
    return { ofPrediction: root * (isScore ? point.sigma : 1), ofTarget: root * (isScore ? -1 : 1) }
  })
  const scaled = (x: Tensor, factor: keyof (typeof factors)[number]) =>
    scaleSamples(
      x,
      eachRow(t.length, x),
      tableOf(
        factors.map((of) => [of[factor], 0]),
        x,
      ),
    )
  return velocityLoss(scaled(prediction, 'ofPrediction'), scaled(x0, 'ofTarget'))
}

function weightOf(diffusion: number, sigma: number, weight: TransportLossWeight | undefined): number {
  if (weight === undefined) return 1
  return weight === 'velocity' ? (diffusion / sigma) ** 2 : diffusion / (sigma * sigma)
}

function eachRow(count: number, { device }: Tensor): Tensor {
  return Tensor.from(
    Int32Array.from({ length: count }, (_, i) => i),
    [count],
    device,
  )
}

function tableOf(rows: readonly (readonly [number, number])[], { device }: Tensor): Tensor {
  return Tensor.from(Float64Array.from(rows.flat()), [rows.length, 2], device)
}
