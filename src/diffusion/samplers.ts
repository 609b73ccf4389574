/**
 * REPA's samplers (samplers.py): Euler and Heun for the probability-flow ODE, Euler–Maruyama for the reverse SDE, with
 * classifier-free guidance in an interval of times. The state is float64 and the model runs in float32, as there.
 */
import type { SiT } from '../models/sit.ts'
import { type InterpolantPath, native } from '../native.ts'
import { synchronize } from '../tensor/device.ts'
import { cast } from '../tensor/ops/cast.ts'
import { linearCombination } from '../tensor/ops/float64.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { pathCoefficients } from './path.ts'

export interface Guidance {
  /** 1: none. */
  readonly scale: number
  /** Active while low ≤ t ≤ high, t being the step's beginning. */
  readonly low: number
  readonly high: number
  /** The label of the unconditional half; by default the model's null class. */
  readonly nullLabel?: number
}

export interface SamplerOptions {
  readonly mode: 'ode' | 'sde'
  /** Of the ODE; the SDE's is Euler–Maruyama. */
  readonly solver?: 'euler' | 'heun'
  readonly steps: number
  readonly path?: InterpolantPath
  readonly guidance?: Guidance
  /** The SDE's noise: N(0, 1) of the state's shape, f32 or f64, for stochastic step number `step`. */
  readonly noise?: (step: number) => Tensor
  /** Called after each step. */
  readonly onStep?: (step: number, steps: number) => void
  /** Shown the conditional model input at every model call. */
  readonly observe?: (input: Tensor, t: number) => void
  readonly signal?: AbortSignal
}

/** Times of the ODE: N + 1 from 1 to 0. */
export function odeTimes(steps: number): number[] {
  return Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps)
}

/** Where the SDE stops being stochastic: its last step, from here to 0, adds no noise. */
const LAST_STEP = 0.04

/** Times of the SDE: N from 1 to 0.04, then 0. */
export function sdeTimes(steps: number): number[] {
  const times = Array.from({ length: steps }, (_, i) => 1 - ((1 - LAST_STEP) * i) / Math.max(1, steps - 1))
  return [...times, 0]
}

/**
 * Samples from noise [B, C, H, W] (f32) with a class label for each sample (the null class: none). Returns the state at
 * t = 0, f64 [B, C, H, W]; the caller disposes it. Throws the signal's reason when aborted.
 */
export async function sample(model: SiT, noise: Tensor, labels: Int32Array, options: SamplerOptions): Promise<Tensor> {
  const { mode, solver = 'euler', steps, signal, onStep } = options
  if (steps < 1) throw new RangeError(`sample: ${steps} steps; expected at least 1.`)
  const times = mode === 'ode' ? odeTimes(steps) : sdeTimes(steps)
  const step = mode === 'sde' ? sdeStep : solver === 'heun' ? heunStep : eulerStep
  const field = new VelocityField(model, labels, options)
  let state = cast(noise, 'f64')
  try {
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted()
      const next = scope(() => step(field, state, times[i]!, times[i + 1]!, i, options))
      state.dispose()
      state = next
      // Keeps the host from running ahead, and the event loop free.
      await synchronize(model.device)
      onStep?.(i + 1, steps)
    }
    return state
  } catch (error) {
    state.dispose()
    throw error
  } finally {
    field.dispose()
  }
}

/** A velocity as terms of a linear combination: c·v_cond + (1 − c)·v_null, never formed by itself. */
type Terms = readonly (readonly [number, Tensor])[]

const scaled = (terms: Terms, factor: number): Terms => terms.map(([coefficient, x]) => [coefficient * factor, x])

/** The model's velocity, guided where guidance is active. */
class VelocityField {
  readonly #model: SiT
  readonly #options: SamplerOptions
  readonly #labels: Tensor
  readonly #doubledLabels: Tensor
  readonly path: InterpolantPath

  constructor(model: SiT, labels: Int32Array, options: SamplerOptions) {
    this.#model = model
    this.#options = options
    this.path = options.path ?? 'linear'
    const doubled = new Int32Array(2 * labels.length).fill(options.guidance?.nullLabel ?? model.nullClass)
    doubled.set(labels)
    this.#labels = keep(Tensor.from(labels, [labels.length], model.device))
    this.#doubledLabels = keep(Tensor.from(doubled, [doubled.length], model.device))
  }

  /** At state x (f64) and time t; `guidedAt` is the time that decides whether guidance is active. */
  at(x: Tensor, t: number, guidedAt: number): Terms {
    const { guidance, observe } = this.#options
    const batch = x.shape[0]!
    const input = cast(x, 'f32')
    observe?.(input, t)
    const guided = guidance && guidance.scale > 1 && guidedAt >= guidance.low && guidedAt <= guidance.high
    if (!guided) return [[1, this.#model.forward(input, this.#time(t, batch), this.#labels).prediction]]
    const doubled = Tensor.empty([2 * batch, ...x.shape.slice(1)], x.device)
    native().copy(doubled.slice(0, batch).handle, input.handle)
    native().copy(doubled.slice(batch, 2 * batch).handle, input.handle)
    const { prediction: velocity } = this.#model.forward(doubled, this.#time(t, 2 * batch), this.#doubledLabels)
    return [
      [guidance.scale, velocity.slice(0, batch)],
      [1 - guidance.scale, velocity.slice(batch, 2 * batch)],
    ]
  }

  #time(t: number, batch: number): Tensor {
    return Tensor.full([batch], t, this.#model.device)
  }

  dispose(): void {
    this.#labels.dispose()
    this.#doubledLabels.dispose()
  }
}

function eulerStep(field: VelocityField, x: Tensor, t: number, next: number): Tensor {
  return linearCombination([[1, x], ...scaled(field.at(x, t, t), next - t)])
}

/** Heun's second slope, except at the end, where the path stops; the guidance of both follows the step's beginning. */
function heunStep(
  field: VelocityField,
  x: Tensor,
  t: number,
  next: number,
  index: number,
  { steps }: SamplerOptions,
): Tensor {
  const slope = field.at(x, t, t)
  const euler = linearCombination([[1, x], ...scaled(slope, next - t)])
  if (index === steps - 1) return euler
  const half = (next - t) / 2
  return linearCombination([[1, x], ...scaled(slope, half), ...scaled(field.at(euler, next, t), half)])
}

/**
 * Drift v − ½ w s with the score s = (r v − x) / var, r = α / α', var = σ² − r σ' σ, and w(t) = 2t for both paths; noise
 * √(w |dt|). Guidance on the drift is guidance on v, for s is linear in v.
 */
function sdeStep(
  field: VelocityField,
  x: Tensor,
  t: number,
  next: number,
  index: number,
  { steps, noise }: SamplerOptions,
): Tensor {
  const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(field.path, t)
  const dt = next - t
  const w = 2 * t
  const r = alpha / dAlpha
  const variance = sigma * sigma - r * dSigma * sigma
  const velocityFactor = 1 - (0.5 * w * r) / variance
  const stateFactor = (0.5 * w) / variance
  const drift: Terms = [[1 + dt * stateFactor, x], ...scaled(field.at(x, t, t), dt * velocityFactor)]
  if (index === steps - 1) return linearCombination(drift)
  if (!noise) throw new TypeError('sample: the SDE needs `noise`.')
  return linearCombination([...drift, [Math.sqrt(w * Math.abs(dt)), noise(index)]])
}
