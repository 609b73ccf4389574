/**
 * REPA's samplers (samplers.py): Euler and Heun for the probability-flow ODE, Euler–Maruyama for the reverse SDE; and dopri5, with
 * which the original SiT solves the ODE; all with classifier-free guidance in an interval of times. The state is float64 and the
 * model runs in float32, as there.
 */
import type { SiT } from '../models/sit.ts'
import type { InterpolantPath } from '../native.ts'
import { cast } from '../tensor/ops/cast.ts'
import { guide } from '../tensor/ops/diffusion.ts'
import { linearCombination } from '../tensor/ops/float64.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { dopri5 } from './dopri5.ts'
import { ConditionalModel, type Guidance, guidedChannels, isGuidedAt } from './guidance.ts'
import { linspace } from './linspace.ts'
import { pathCoefficients } from './path.ts'
import { requireOptions, samplerSchema } from './sampler-options.ts'
import { stepThrough } from './step-through.ts'

export interface SamplerOptions {
  readonly mode: 'ode' | 'sde'
  /** Of the ODE; the SDE's is Euler–Maruyama. dopri5 chooses its steps, to errors of 1e-3 relative and 1e-6 absolute. */
  readonly solver?: 'euler' | 'heun' | 'dopri5'
  /** How many; dopri5 only counts its progress in them. */
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
  return linspace(1, 0, steps + 1)
}

/** SiT's (sample_ddp.py). */
const DOPRI5_TOLERANCES = { atol: 1e-6, rtol: 1e-3 }

/** Where the SDE stops being stochastic: its last step, from here to 0, adds no noise. */
const LAST_STEP = 0.04

/** Times of the SDE: N from 1 to 0.04, then 0. */
export function sdeTimes(steps: number): number[] {
  return [...linspace(1, LAST_STEP, steps), 0]
}

/**
 * Samples from noise [B, C, H, W] (f32) with a class label for each sample (the null class: none). Returns the state at
 * t = 0, f64 [B, C, H, W]; the caller disposes it. Throws the signal's reason when aborted.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a label or guidance that the model has no row for
 */
export async function sample(model: SiT, noise: Tensor, labels: Int32Array, options: SamplerOptions): Promise<Tensor> {
  requireOptions(samplerSchema, options)
  const { mode, solver = 'euler', steps, signal, onStep } = options
  using field = new VelocityField(model, labels, options)
  if (mode === 'ode' && solver === 'dopri5') {
    // It goes up in time.
    return await dopri5((x, s) => linearCombination(scaled(field.at(x, 1 - s, 1 - s), -1)), noise, [0, 1], {
      ...DOPRI5_TOLERANCES,
      onStep: (reached) => onStep?.(steps * reached, steps),
      signal,
    })
  }
  const times = mode === 'ode' ? odeTimes(steps) : sdeTimes(steps)
  const step = mode === 'sde' ? sdeStep : solver === 'heun' ? heunStep : eulerStep
  return await stepThrough(noise, steps, (state, i) => step(field, state, times[i]!, times[i + 1]!, i, options), {
    signal,
    onStep,
  })
}

/** A velocity as terms of a linear combination: c·v_cond + (1 − c)·v_null, never formed by itself. */
type Terms = readonly (readonly [number, Tensor])[]

const scaled = (terms: Terms, factor: number): Terms => terms.map(([coefficient, x]) => [coefficient * factor, x])

/** The model's velocity from data (t = 0) to noise (t = 1), guided where guidance is active. */
class VelocityField implements Disposable {
  readonly #model: SiT
  readonly #conditional: ConditionalModel
  readonly #options: SamplerOptions
  readonly path: InterpolantPath

  constructor(model: SiT, labels: Int32Array, options: SamplerOptions) {
    this.#model = model
    this.#conditional = new ConditionalModel(model, labels, options.guidance)
    this.#options = options
    this.path = options.path ?? 'linear'
  }

  /** At state x (f64) and time t; `guidedAt` is the time that decides whether guidance is active. */
  at(x: Tensor, t: number, guidedAt: number): Terms {
    const { convention, channels } = this.#model.config
    const { guidance, observe } = this.#options
    const batch = x.shape[0]!
    const input = cast(x, 'f32')
    observe?.(input, t)
    // The original SiT's time runs the other way: so does its velocity.
    const [time, direction] = convention === 'repa' ? [t, 1] : [1 - t, -1]
    if (!isGuidedAt(guidance, guidedAt)) return [[direction, this.#conditional.predict(input, time)]]
    const both = this.#conditional.predictBoth(input, time)
    const guided = guidedChannels(this.#model, guidance)
    if (guided < channels) return [[direction, guide(both, guidance.scale, guided).slice(0, batch)]]
    return [
      [direction * guidance.scale, both.slice(0, batch)],
      [direction * (1 - guidance.scale), both.slice(batch, 2 * batch)],
    ]
  }

  [Symbol.dispose](): void {
    this.#conditional[Symbol.dispose]()
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
