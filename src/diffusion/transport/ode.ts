/**
 * The probability-flow ODE of the original SiT (Sampler.sample_ode), from noise to data. Its solvers are those of torchdiffeq: Euler and
 * Heun on a fixed grid, Dormand and Prince's with steps of its own.
 */
import * as z from 'zod'
import { aFunction, aSignal } from '../../configuration/callbacks.ts'
import { whenNeeded } from '../../configuration/parse.ts'
import { cast } from '../../tensor/ops/cast.ts'
import { linearCombination } from '../../tensor/ops/float64.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { type Derivative, dopri5 } from '../dopri5.ts'
import { pointsOfTime, requireOptions } from '../sampler-options.ts'
import { stepThrough } from '../step-through.ts'
import { evenTimes, fieldValue, type Predict } from './field.ts'
import { interval, requireTransport, type Transport, velocityField } from './transport.ts'

export const ODE_METHODS = ['euler', 'heun2', 'dopri5'] as const

export type TransportOdeMethod = (typeof ODE_METHODS)[number]

export interface TransportOdeOptions {
  /** Default: dopri5. */
  readonly method?: TransportOdeMethod
  /** Points of time, both ends among them: the fixed grid, or where dopri5's solution is looked at. Default: 50. */
  readonly points?: number
  /** Of dopri5. Default: 1e-6. */
  readonly atol?: number
  /** Of dopri5. Default: 1e-3. */
  readonly rtol?: number
  /** Shown the state at every point of time: the noise, then states in f64. */
  readonly observe?: (state: Tensor, point: number) => void
  readonly signal?: AbortSignal
}

const schema = whenNeeded(() => {
  const tolerance = z.number().positive().optional()
  return z.strictObject({
    method: z.enum(ODE_METHODS).optional(),
    points: pointsOfTime(),
    atol: tolerance,
    rtol: tolerance,
    observe: aFunction().optional(),
    signal: aSignal().optional(),
  } satisfies Record<keyof TransportOdeOptions, z.ZodType>)
})

/**
 * From noise [B, C, H, W] (f32) to the last state, f64; the caller disposes it.
 *
 * @throws {ConfigurationError} for a transport or options that are none
 */
export async function sampleTransportOde(
  transport: Transport,
  predict: Predict,
  noise: Tensor,
  options: TransportOdeOptions = {},
): Promise<Tensor> {
  requireTransport(transport)
  requireOptions(schema, options)
  const { method = 'dopri5', points = 50, atol = 1e-6, rtol = 1e-3, observe, signal } = options
  const times = evenTimes(interval(transport, transport.sampleEps), points)
  const derivative: Derivative = (state, t) =>
    fieldValue(state, predict(cast(state, 'f32'), t), velocityField(transport, t))
  if (method === 'dopri5') return dopri5(derivative, noise, times, { atol, rtol, observe, signal })
  const step = STEPS[method]
  observe?.(noise, 0)
  return await stepThrough(noise, points - 1, (state, i) => step(derivative, state, times[i]!, times[i + 1]!), {
    signal,
    observe: (state, i) => observe?.(state, i + 1),
  })
}

/** A step of each method of a fixed grid. */
const STEPS = { euler: eulerStep, heun2: heunStep } as const

function eulerStep(derivative: Derivative, x: Tensor, t: number, next: number): Tensor {
  return linearCombination([
    [1, x],
    [next - t, derivative(x, t)],
  ])
}

function heunStep(derivative: Derivative, x: Tensor, t: number, next: number): Tensor {
  const step = next - t
  const slope = derivative(x, t)
  const euler = linearCombination([
    [1, x],
    [step, slope],
  ])
  return linearCombination([
    [1, x],
    [step / 2, slope],
    [step / 2, derivative(euler, next)],
  ])
}
