import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../../configuration/parse.ts'
import { type PathPoint, pathDiffusion, pathPoint, TRANSPORT_PATHS, type TransportPath } from './path.ts'

export const TRANSPORT_PREDICTIONS = ['velocity', 'score', 'noise'] as const

/** What the model says of x_t: dx/dt along the path, ∇ log p_t(x), or the x_0 in it. */
export type TransportPrediction = (typeof TRANSPORT_PREDICTIONS)[number]

/** How a model moves between noise and data (create_transport). */
export interface Transport {
  readonly path: TransportPath
  readonly prediction: TransportPrediction
  /** How far from the path's singular ends training draws its times. */
  readonly trainEps: number
  /** How far from them samplers keep. */
  readonly sampleEps: number
}

const transportSchema = whenNeeded(() => {
  // From both ends: at a half nothing would be left between them.
  const margin = z.number().min(0).lt(0.5).optional()
  return z.strictObject({
    path: z.enum(TRANSPORT_PATHS),
    prediction: z.enum(TRANSPORT_PREDICTIONS),
    trainEps: margin,
    sampleEps: margin,
  } satisfies Record<keyof Transport, z.ZodType>)
})

/** @throws {ConfigurationError} naming all that is wrong with it: REPA's paths have other names, and nothing would show one for another */
export function requireTransport(transport: unknown): void {
  parseConfiguration(transportSchema(), transport, 'the transport')
}

/**
 * A transport with the reference's margins. Velocity models on the Linear and the GVP path have no singular end and no margin; that of
 * others may be given.
 *
 * @throws {ConfigurationError} for a path, a prediction or a margin that is none
 */
export function transport(
  path: TransportPath,
  prediction: TransportPrediction,
  margins: { readonly trainEps?: number; readonly sampleEps?: number } = {},
): Transport {
  requireTransport({ ...margins, path, prediction })
  const { trainEps, sampleEps } = margins
  if (path === 'VP') return { path, prediction, trainEps: trainEps ?? 1e-5, sampleEps: sampleEps ?? 1e-3 }
  if (prediction === 'velocity') return { path, prediction, trainEps: 0, sampleEps: 0 }
  return { path, prediction, trainEps: trainEps ?? 1e-3, sampleEps: sampleEps ?? 1e-3 }
}

export interface IntervalOptions {
  /** For an SDE: its diffusion's form (SBDM is singular at the noise), and how long its last step is. */
  readonly sde?: { readonly form: string; readonly lastStepSize: number }
}

/** Times from which and to which one may go (check_interval): with `eps` the training's or the samplers'. */
export function interval(
  { path, prediction }: Transport,
  eps: number,
  { sde }: IntervalOptions = {},
): readonly [from: number, to: number] {
  const end = 1 - (sde && sde.lastStepSize > 0 ? sde.lastStepSize : eps)
  if (path === 'VP') return [0, end]
  if (prediction === 'velocity' && !sde) return [0, 1]
  return [prediction !== 'velocity' || sde?.form === 'SBDM' ? eps : 0, end]
}

/** A field that is linear in the state and in what the model predicts there. */
export interface LinearField {
  readonly ofState: number
  readonly ofPrediction: number
}

/** The velocity of the probability-flow ODE (get_drift). */
export function velocityField({ path, prediction }: Transport, t: number): LinearField {
  if (prediction === 'velocity') return { ofState: 0, ofPrediction: 1 }
  const point = pathPoint(path, t)
  const diffusion = pathDiffusion(point, path)
  return {
    ofState: point.alphaRatio,
    ofPrediction: prediction === 'score' ? diffusion : -diffusion / point.sigma,
  }
}

/** The score ∇ log p_t (get_score). */
export function scoreField({ path, prediction }: Transport, t: number): LinearField {
  if (prediction === 'score') return { ofState: 0, ofPrediction: 1 }
  const point = pathPoint(path, t)
  if (prediction === 'noise') return { ofState: 0, ofPrediction: -1 / point.sigma }
  return scoreOfVelocity(point)
}

/** (r v − x) / (σ² − r σ' σ), r = α / α'. */
function scoreOfVelocity({ alpha, sigma, dAlpha, dSigma }: PathPoint): LinearField {
  const r = alpha / dAlpha
  const variance = sigma * sigma - r * dSigma * sigma
  return { ofState: -1 / variance, ofPrediction: r / variance }
}
