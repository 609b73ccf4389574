/** The reverse SDE of the original SiT (Sampler.sample_sde), from noise to data: dx = (v + w s) dt + √(2 w) dB for any w ≥ 0. */
import * as z from 'zod'
import { aFunction, aSignal } from '../../configuration/callbacks.ts'
import { whenNeeded } from '../../configuration/parse.ts'
import { cast } from '../../tensor/ops/cast.ts'
import { linearCombination } from '../../tensor/ops/float64.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { pointsOfTime, requireOptions } from '../sampler-options.ts'
import { stepThrough } from '../step-through.ts'
import { advanced, evenTimes, fieldValue, type Predict } from './field.ts'
import { pathDiffusion, pathPoint, type TransportPath } from './path.ts'
import { interval, type LinearField, requireTransport, scoreField, type Transport, velocityField } from './transport.ts'

export const SDE_METHODS = ['Euler', 'Heun'] as const
export const DIFFUSION_FORMS = ['constant', 'SBDM', 'sigma', 'linear', 'decreasing', 'increasing-decreasing'] as const
export const LAST_STEPS = ['Mean', 'Tweedie', 'Euler'] as const

/** w(t): a constant; that of the path as a diffusion (SBDM); σ(t); 1 − t; and two that vanish at the data, or at both ends. */
export type DiffusionForm = (typeof DIFFUSION_FORMS)[number]

export interface TransportSdeOptions {
  /** Euler–Maruyama, or Heun's. Default: Euler. */
  readonly method?: (typeof SDE_METHODS)[number]
  /** Default: sigma, as SiT's scripts have it. */
  readonly form?: DiffusionForm
  /** What the form is multiplied by. Default: 1. */
  readonly norm?: number
  /** The last step, without noise: along the SDE's drift, by Tweedie's formula, along the ODE's velocity; null: none. Default: Mean. */
  readonly lastStep?: (typeof LAST_STEPS)[number] | null
  /** Default: 0.04. */
  readonly lastStepSize?: number
  /** States, the last step's among them. Default: 250. */
  readonly steps?: number
  /** N(0, 1) of the state's shape, f32 or f64, for stochastic step number `step` from 0. */
  readonly noise: (step: number) => Tensor
  /** Shown the state (f64) after every step. */
  readonly observe?: (state: Tensor, step: number) => void
  readonly signal?: AbortSignal
}

/** w at a time. */
export function diffusionAt(path: TransportPath, form: DiffusionForm, norm: number, t: number): number {
  switch (form) {
    case 'constant':
      return norm
    case 'SBDM':
      return norm * pathDiffusion(pathPoint(path, t), path)
    case 'sigma':
      return norm * pathPoint(path, t).sigma
    case 'linear':
      return norm * (1 - t)
    case 'decreasing':
      return 0.25 * (norm * Math.cos(Math.PI * t) + 1) ** 2
    case 'increasing-decreasing':
      return norm * Math.sin(Math.PI * t) ** 2
  }
}

const schema = whenNeeded(() =>
  z.strictObject({
    method: z.enum(SDE_METHODS).optional(),
    form: z.enum(DIFFUSION_FORMS).optional(),
    norm: z.number().min(0).optional(),
    lastStep: z.enum(LAST_STEPS).nullable().optional(),
    lastStepSize: z.number().min(0).lt(1).optional(),
    steps: pointsOfTime(),
    noise: aFunction(),
    observe: aFunction().optional(),
    signal: aSignal().optional(),
  } satisfies Record<keyof TransportSdeOptions, z.ZodType>),
)

/**
 * From noise [B, C, H, W] (f32) to the last state, f64; the caller disposes it.
 *
 * @throws {ConfigurationError} for a transport or options that are none; {RangeError} for a diffusion that is infinite, and a last step
 *   that leaves no time before it
 */
export async function sampleTransportSde(
  transport: Transport,
  predict: Predict,
  start: Tensor,
  options: TransportSdeOptions,
): Promise<Tensor> {
  requireTransport(transport)
  requireOptions(schema, options)
  const { method = 'Euler', form = 'sigma', norm = 1, lastStep = 'Mean', steps = 250 } = options
  const { noise, observe, signal } = options
  const lastStepSize = lastStep === null ? 0 : (options.lastStepSize ?? 0.04)
  const ends = interval(transport, transport.sampleEps, { sde: { form, lastStepSize } })
  if (!(ends[0] < ends[1])) {
    throw new RangeError(
      `A last step of ${lastStepSize} leaves no time before it, from t = ${ends[0]} on; take a smaller lastStepSize.`,
    )
  }
  const times = evenTimes(ends, steps)
  const dt = times[1]! - times[0]!
  const w = (t: number): number => {
    const value = diffusionAt(transport.path, form, norm, t)
    if (Number.isFinite(value)) return value
    throw new RangeError(
      `The diffusion ${form} is infinite at t = ${t} of the ${transport.path} path; choose another form, or a transport with a margin.`,
    )
  }
  const drift = (t: number) => withScore(velocityField(transport, t), scoreField(transport, t), w(t))
  const at = (x: Tensor, t: number) => predict(cast(x, 'f32'), t)

  const spread = (t: number) => Math.sqrt(2 * w(t) * dt)
  const eulerStep = (x: Tensor, t: number, index: number): Tensor => {
    const { ofState, ofPrediction } = drift(t)
    return linearCombination([
      [1 + dt * ofState, x],
      [dt * ofPrediction, at(x, t)],
      [spread(t), noise(index)],
    ])
  }
  const heunStep = (x: Tensor, t: number, index: number): Tensor => {
    const noisy = linearCombination([
      [1, x],
      [spread(t), noise(index)],
    ])
    const slope = fieldValue(noisy, at(noisy, t), drift(t))
    const euler = linearCombination([
      [1, noisy],
      [dt, slope],
    ])
    return linearCombination([
      [1, noisy],
      [dt / 2, slope],
      [dt / 2, fieldValue(euler, at(euler, t + dt), drift(t + dt))],
    ])
  }
  const step = { Euler: eulerStep, Heun: heunStep }[method]
  /** E[x_1 | x_t] = (x + σ² s) / α. */
  const expectedData = (x: Tensor, t: number): Tensor => {
    const { alpha, sigma } = pathPoint(transport.path, t)
    const { ofState, ofPrediction } = scoreField(transport, t)
    return linearCombination([
      [(1 + sigma * sigma * ofState) / alpha, x],
      [(sigma * sigma * ofPrediction) / alpha, at(x, t)],
    ])
  }
  const last = (x: Tensor, t: number): Tensor => {
    switch (lastStep) {
      case 'Mean':
        return advanced(x, at(x, t), drift(t), lastStepSize)
      case 'Tweedie':
        return expectedData(x, t)
      case 'Euler':
        return advanced(x, at(x, t), velocityField(transport, t), lastStepSize)
      case null:
        return linearCombination([[1, x]])
    }
  }

  return await stepThrough(
    start,
    steps,
    (state, i) => (i === steps - 1 ? last(state, ends[1]) : step(state, times[i]!, i)),
    { observe, signal },
  )
}

/** v + w s; where w is 0 the score, which may be singular there, has no part in it. */
function withScore(velocity: LinearField, score: LinearField, w: number): LinearField {
  if (w === 0) return velocity
  return {
    ofState: velocity.ofState + w * score.ofState,
    ofPrediction: velocity.ofPrediction + w * score.ofPrediction,
  }
}
