import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../../configuration/parse.ts'
import { combineSamples, scaleSamples } from '../../tensor/ops/diffusion.ts'
import { velocityLoss } from '../../tensor/ops/loss.ts'
import { scope } from '../../tensor/scope.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { aTensor } from '../../tensor/tensor-schema.ts'
import { pathDiffusion, pathPoint } from './path.ts'
import { requireTransport, type Transport } from './transport.ts'

export const LOSS_WEIGHTS = ['velocity', 'likelihood'] as const

/** How errors of noise and score are weighted: as errors of the velocity, or so that the loss bounds the likelihood. */
export type TransportLossWeight = (typeof LOSS_WEIGHTS)[number]

const times = () => z.array(z.number().min(0).max(1))

const planSchema = whenNeeded(() => z.strictObject({ x0: aTensor(), x1: aTensor(), t: times() }))

const lossSchema = whenNeeded(() =>
  z.strictObject({
    prediction: aTensor(),
    truth: z.strictObject({ x0: aTensor(), ut: aTensor(), t: times() }),
    weight: z.enum(LOSS_WEIGHTS).optional(),
  }),
)

/**
 * Samples on the path: noise x0 and data x1 [B, ...] at the times t → x_t and the velocity u_t there (PathSampler.plan).
 *
 * @throws {ConfigurationError} for a transport or samples that are none
 */
export function transportPlan(
  transport: Transport,
  samples: { readonly x0: Tensor; readonly x1: Tensor; readonly t: readonly number[] },
): { xt: Tensor; ut: Tensor } {
  requireTransport(transport)
  parseConfiguration(planSchema(), samples, 'what transportPlan is given')
  const { path } = transport
  const { x0, x1, t } = samples
  const points = t.map((time) => pathPoint(path, time))
  const mixed = (coefficients: readonly (readonly [ofData: number, ofNoise: number])[]) =>
    combineSamples(x1, x0, eachRow(t.length, x1), tableOf(coefficients, x1))
  return scope(() => ({
    xt: mixed(points.map(({ alpha, sigma }) => [alpha, sigma])),
    ut: mixed(points.map(({ dAlpha, dSigma }) => [dAlpha, dSigma])),
  }))
}

/**
 * The loss of each sample [B] (Transport.training_losses): the mean squared error of the velocity u_t; of the noise x0; or of σ times
 * the score, whose truth is −x0; the latter two times their weight. While a tape records, seeds it with the gradient of their mean.
 *
 * @throws {ConfigurationError} for a transport, a truth or a weight that is none
 */
export function transportLoss(
  transport: Transport,
  prediction: Tensor,
  truth: { readonly x0: Tensor; readonly ut: Tensor; readonly t: readonly number[] },
  weight?: TransportLossWeight,
): Tensor {
  requireTransport(transport)
  parseConfiguration(lossSchema(), { prediction, truth, weight }, 'what transportLoss is given')
  const { x0, ut, t } = truth
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
  return scope(() => velocityLoss(scaled(prediction, 'ofPrediction'), scaled(x0, 'ofTarget')))
}

function weightOf(diffusion: number, sigma: number, weight: TransportLossWeight | undefined): number {
  switch (weight) {
    case undefined:
      return 1
    case 'velocity':
      return (diffusion / sigma) ** 2
    case 'likelihood':
      return diffusion / (sigma * sigma)
  }
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
