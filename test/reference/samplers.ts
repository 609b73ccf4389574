import { type NdArray, zeros } from './array.ts'
import { type Path, pathCoefficients } from './interpolant.ts'

/** The model's velocity at (x, t) with the samples' labels, or with the null label in every row. */
export type Velocity = (x: NdArray, t: number, labels: 'class' | 'null') => NdArray

export interface SamplerOptions {
  readonly steps: number
  readonly path: Path
  /** Classifier-free guidance; 1 is without. */
  readonly cfgScale: number
  /** Guidance acts where low <= t <= high, both included. */
  readonly guidanceLow: number
  readonly guidanceHigh: number
}

/** steps + 1 times from 1 (noise) to 0 (data), evenly. */
export function odeTimes(steps: number): number[] {
  return Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps)
}

/** steps + 1 times: evenly from 1 to 0.04, then 0. */
export function sdeTimes(steps: number): number[] {
  return [...Array.from({ length: steps }, (_, i) => 1 - (0.96 * i) / Math.max(steps - 1, 1)), 0]
}

/** Probability-flow ODE by Euler's or Heun's method; the last of Heun's steps is an Euler step. */
export function sampleOde(model: Velocity, noise: NdArray, options: SamplerOptions & { heun: boolean }): NdArray {
  const times = odeTimes(options.steps)
  let x = noise
  for (let i = 0; i < options.steps; i++) {
    const guided = isGuided(times[i], options)
    const dt = times[i + 1] - times[i]
    const slope = guidedField((labels) => model(x, times[i], labels), guided, options.cfgScale)
    const euler = axpy(dt, slope, x)
    if (!options.heun || i === options.steps - 1) {
      x = euler
      continue
    }
    // The interval is tested at the start of the step for both slopes, as the reference does.
    const second = guidedField((labels) => model(euler, times[i + 1], labels), guided, options.cfgScale)
    x = axpy(dt / 2, second, axpy(dt / 2, slope, x))
  }
  return x
}

/** The reverse SDE by Euler-Maruyama; eps holds steps - 1 normals of x's shape, the last step draws none. */
export function sampleSde(model: Velocity, noise: NdArray, eps: readonly NdArray[], options: SamplerOptions): NdArray {
  const times = sdeTimes(options.steps)
  let x = noise
  for (let i = 0; i < options.steps; i++) {
    const t = times[i]
    const dt = times[i + 1] - t
    const drift = guidedField(
      (labels) => sdeDrift(model(x, t, labels), x, t, options.path),
      isGuided(t, options),
      options.cfgScale,
    )
    x = axpy(dt, drift, x)
    if (i < options.steps - 1) x = axpy(Math.sqrt(diffusion(t)) * Math.sqrt(Math.abs(dt)), eps[i], x)
  }
  return x
}

/** w(t) = 2t, for both paths. */
export function diffusion(t: number): number {
  return 2 * t
}

/** s = (r v - x) / (sigma^2 - r sigma' sigma), r = alpha / alpha'. */
export function scoreFromVelocity(v: NdArray, x: NdArray, t: number, path: Path): NdArray {
  const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(path, t)
  const ratio = alpha / dAlpha
  const variance = sigma ** 2 - ratio * dSigma * sigma
  const score = zeros(x.shape)
  for (let i = 0; i < x.data.length; i++) score.data[i] = (ratio * v.data[i] - x.data[i]) / variance
  return score
}

/** d = v - w s / 2. */
export function sdeDrift(v: NdArray, x: NdArray, t: number, path: Path): NdArray {
  return axpy(-0.5 * diffusion(t), scoreFromVelocity(v, x, t, path), v)
}

function isGuided(t: number, options: SamplerOptions): boolean {
  return options.cfgScale > 1 && options.guidanceLow <= t && t <= options.guidanceHigh
}

// null + w (class - null), on all channels.
function guidedField(field: (labels: 'class' | 'null') => NdArray, guided: boolean, cfgScale: number): NdArray {
  const conditional = field('class')
  if (!guided) return conditional
  const unconditional = field('null')
  return axpy(cfgScale, axpy(-1, unconditional, conditional), unconditional)
}

// a x + y
function axpy(a: number, x: NdArray, y: NdArray): NdArray {
  const out = zeros(x.shape)
  for (let i = 0; i < out.data.length; i++) out.data[i] = a * x.data[i] + y.data[i]
  return out
}
