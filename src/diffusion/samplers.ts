/**
 * REPA's samplers (samplers.py): Euler and Heun for the probability-flow ODE, Euler–Maruyama for the reverse SDE; and dopri5, with
 * which the original SiT solves the ODE; all with classifier-free guidance in an interval of times. The state is float64 and the
 * model runs in float32, as there. A class token (REG, its samplers.py) is sampled along with the latents, in the same steps.
 */
import type { SiT } from '../models/sit.ts'
import type { InterpolantPath } from '../native.ts'
import { cast } from '../tensor/ops/cast.ts'
import { guide } from '../tensor/ops/diffusion.ts'
import { linearCombination } from '../tensor/ops/float64.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ConditionalModel, type Guidance, guidedChannels, isGuidedAt, type SampledCondition } from './guidance.ts'
import { linspace } from './linspace.ts'
import { pathCoefficients } from './path.ts'
import { requireKind, requireOptions, samplerSchema } from './sampler-options.ts'
import { stepAllThrough } from './step-through.ts'

/** Apart from what uses it: beside `using`, TypeScript leaves the extension of a dynamic import as it is. */
const loadDopri5 = () => import('./dopri5.ts')

export interface SamplerOptions {
  readonly mode: 'ode' | 'sde'
  /** Of the ODE; the SDE's is Euler–Maruyama. dopri5 chooses its steps, to errors of 1e-3 relative and 1e-6 absolute. */
  readonly solver?: 'euler' | 'heun' | 'dopri5'
  /** How many; dopri5 only counts its progress in them. */
  readonly steps: number
  /**
   * Of the ODE by Euler and Heun: above 1 more of the steps are at high noise, below 1 at low noise. A time t of even steps becomes
   * s t / (1 - t + s t): Stable Diffusion 3's (arXiv 2403.03206, equation 23). LightningDiT, whose time runs the other way, has 1 / s.
   */
  readonly timeShift?: number
  readonly path?: InterpolantPath
  readonly guidance?: Guidance
  /** The SDE's noise: N(0, 1) of the state's shape, f32 or f64, for stochastic step number `step`. */
  readonly noise?: (step: number) => Tensor
  /** What a model with a class token begins from for it, N(0, 1) [B, z] (f32), and its noise. Other models want none. */
  readonly classToken?: { readonly start: Tensor; readonly noise?: (step: number) => Tensor } | undefined
  /** Called after each step. */
  readonly onStep?: (step: number, steps: number) => void
  /** Shown the conditional model input at every model call. */
  readonly observe?: (input: Tensor, t: number) => void
  readonly signal?: AbortSignal
}

/** Times of the ODE: N + 1 from 1 to 0; even but for `timeShift` (SamplerOptions). */
export function odeTimes(steps: number, timeShift = 1): number[] {
  const times = linspace(1, 0, steps + 1)
  return timeShift === 1 ? times : times.map((t) => (timeShift * t) / (1 - t + timeShift * t))
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
 * Samples from noise [B, C, H, W] (f32) with a class label for each sample (the null class: none), or of a model of text a caption's hidden
 * states. Returns the state at t = 0, f64 [B, C, H, W]; the caller disposes it. Throws the signal's reason when aborted.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a label or guidance that the model has no row for
 */
export async function sampleFlow(
  model: SiT,
  noise: Tensor,
  condition: SampledCondition,
  options: SamplerOptions,
): Promise<Tensor> {
  requireKind(model, 'SiT')
  requireOptions(samplerSchema, options)
  const { mode, solver = 'euler', steps, timeShift, classToken, signal, onStep } = options
  using field = new VelocityField(model, condition, options)
  if (mode === 'ode' && solver === 'dopri5') {
    if (classToken) {
      throw new RangeError(
        'dopri5 chooses its steps by the error of the latents, and this model denoises a class token along (REG); take euler or heun.',
      )
    }
    const { dopri5 } = await loadDopri5()
    // It goes up in time; and past the data, to come back to them by interpolation: what guides there is what guides at them.
    const slope = (x: Tensor, s: number) => {
      const t = 1 - s
      return linearCombination(scaled(field.at([x], t, Math.max(0, t))[0]!, -1))
    }
    return await dopri5(slope, noise, [0, 1], {
      ...DOPRI5_TOLERANCES,
      onStep: (reached) => onStep?.(steps * reached, steps),
      signal,
    })
  }
  const times = mode === 'ode' ? odeTimes(steps, timeShift) : sdeTimes(steps)
  const step = mode === 'sde' ? sdeStep : solver === 'heun' ? heunStep : eulerStep
  const [latents, token] = await stepAllThrough(
    classToken ? [noise, classToken.start] : [noise],
    steps,
    (state, i) => step(field, state, times[i]!, times[i + 1]!, i, options),
    { signal, onStep },
  )
  // It has done its work: it guided the latents.
  token?.dispose()
  return latents!
}

/** The latents, and the class token where the model has one; f64. */
type State = readonly Tensor[]

/** A velocity as terms of a linear combination: c·v_cond + (1 − c)·v_null, never formed by itself. */
type Terms = readonly (readonly [number, Tensor])[]

const scaled = (terms: Terms, factor: number): Terms => terms.map(([coefficient, x]) => [coefficient * factor, x])

/** The model's velocities from data (t = 0) to noise (t = 1), guided where guidance is active. */
class VelocityField implements Disposable {
  readonly #model: SiT
  readonly #conditional: ConditionalModel
  readonly #options: SamplerOptions
  readonly path: InterpolantPath

  constructor(model: SiT, condition: SampledCondition, options: SamplerOptions) {
    const { guidance, path = 'linear' } = options
    this.#model = model
    this.#conditional = new ConditionalModel(model, condition, guidance, path)
    this.#options = options
    this.path = path
  }

  /** Of every tensor of a state, at time t; `guidedAt` is the time that decides whether guidance is active. */
  at(state: State, t: number, guidedAt: number): readonly Terms[] {
    const { convention, channels } = this.#model.config
    const { guidance, observe } = this.#options
    const [input, classToken] = state.map((x) => cast(x, 'f32'))
    observe?.(input!, t)
    // The original SiT's time runs the other way: so does its velocity.
    const [time, direction] = convention === 'repa' ? [t, 1] : [1 - t, -1]
    if (!isGuidedAt(guidance, guidedAt)) {
      const { prediction, classToken: ofToken } = this.#conditional.predict(input!, time, classToken)
      return [prediction, ...(ofToken ? [ofToken] : [])].map((velocity) => [[direction, velocity]])
    }
    const both = this.#conditional.predictBoth(input!, time, classToken)
    const guided = guidedChannels(this.#model, guidance)
    const batch = input!.shape[0]!
    const ofLatents: Terms =
      guided < channels
        ? [[direction, guide(both.prediction, guidance.scale, guided).slice(0, batch)]]
        : guidedTerms(both.prediction, guidance.scale, direction)
    if (!both.classToken) return [ofLatents]
    const { classTokenScale = guidance.scale } = guidance
    // Of REG's code: a scale of 0 is not the unconditional prediction.
    return [ofLatents, guidedTerms(both.classToken, classTokenScale > 0 ? classTokenScale : 1, direction)]
  }

  [Symbol.dispose](): void {
    this.#conditional[Symbol.dispose]()
  }
}

/** Of predictions [2B, ...], the conditional half before the unconditional one. */
function guidedTerms(both: Tensor, scale: number, direction: number): Terms {
  const batch = both.shape[0]! / 2
  const conditional = both.slice(0, batch)
  if (scale === 1) return [[direction, conditional]]
  return [
    [direction * scale, conditional],
    [direction * (1 - scale), both.slice(batch, 2 * batch)],
  ]
}

/** A state moved along its slopes. */
const moved = (state: State, slopes: readonly Terms[], by: number): State =>
  state.map((x, k) => linearCombination([[1, x], ...scaled(slopes[k]!, by)]))

function eulerStep(field: VelocityField, state: State, t: number, next: number): State {
  return moved(state, field.at(state, t, t), next - t)
}

/** Heun's second slope, except at the end, where the path stops; the guidance of both follows the step's beginning. */
function heunStep(
  field: VelocityField,
  state: State,
  t: number,
  next: number,
  index: number,
  { steps }: SamplerOptions,
): State {
  const slopes = field.at(state, t, t)
  const euler = moved(state, slopes, next - t)
  if (index === steps - 1) return euler
  const half = (next - t) / 2
  const seconds = field.at(euler, next, t)
  return state.map((x, k) => linearCombination([[1, x], ...scaled(slopes[k]!, half), ...scaled(seconds[k]!, half)]))
}

/**
 * Drift v − ½ w s with the score s = (r v − x) / var, r = α / α', var = σ² − r σ' σ, and w(t) = 2t for both paths; noise
 * √(w |dt|). Guidance on the drift is guidance on v, for s is linear in v.
 */
function sdeStep(
  field: VelocityField,
  state: State,
  t: number,
  next: number,
  index: number,
  { steps, noise, classToken }: SamplerOptions,
): State {
  const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(field.path, t)
  const dt = next - t
  const w = 2 * t
  const r = alpha / dAlpha
  const variance = sigma * sigma - r * dSigma * sigma
  const velocityFactor = 1 - (0.5 * w * r) / variance
  const stateFactor = (0.5 * w) / variance
  const slopes = field.at(state, t, t)
  return state.map((x, k) => {
    const drift: Terms = [[1 + dt * stateFactor, x], ...scaled(slopes[k]!, dt * velocityFactor)]
    if (index === steps - 1) return linearCombination(drift)
    const drawn = k === 0 ? noise : classToken?.noise
    if (!drawn) throw new TypeError(`sampleFlow: the SDE needs ${k === 0 ? '`noise`' : "the class token's `noise`"}.`)
    return linearCombination([...drift, [Math.sqrt(w * Math.abs(dt)), drawn(index)]])
  })
}
