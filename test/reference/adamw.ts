import { type NdArray, zeros } from './array.ts'

export interface AdamWOptions {
  readonly lr: number
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weightDecay: number
}

/** A parameter and its two moments, which start at zero. */
export interface AdamWState {
  readonly parameter: NdArray
  readonly expAvg: NdArray
  readonly expAvgSq: NdArray
}

/** `torch.nn.utils.clip_grad_norm_`: the L2 norm over all gradients, and min(1, maxNorm / (norm + 1e-6)). */
export function clipCoefficient(gradients: readonly NdArray[], maxNorm: number): { norm: number; coefficient: number } {
  let squares = 0
  for (const gradient of gradients) for (const value of gradient.data) squares += value ** 2
  const norm = Math.sqrt(squares)
  return { norm, coefficient: Math.min(1, maxNorm / (norm + 1e-6)) }
}

/**
 * One step of `torch.optim.AdamW` (Loshchilov & Hutter 2019); `step` counts from 1, `coefficient` scales the gradient
 * first. p <- p (1 - lr wd); m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
 * p <- p - lr / (1 - b1^step) m / (sqrt(v) / sqrt(1 - b2^step) + eps).
 */
export function adamW(
  state: AdamWState,
  gradient: NdArray,
  step: number,
  options: AdamWOptions,
  coefficient = 1,
): AdamWState {
  const { lr, eps, weightDecay } = options
  const [beta1, beta2] = options.betas
  const parameter = zeros(gradient.shape)
  const expAvg = zeros(gradient.shape)
  const expAvgSq = zeros(gradient.shape)
  for (let i = 0; i < gradient.data.length; i++) {
    const g = gradient.data[i] * coefficient
    const m = beta1 * state.expAvg.data[i] + (1 - beta1) * g
    const v = beta2 * state.expAvgSq.data[i] + (1 - beta2) * g * g
    const denominator = Math.sqrt(v) / Math.sqrt(1 - beta2 ** step) + eps
    const decayed = state.parameter.data[i] * (1 - lr * weightDecay)
    parameter.data[i] = decayed - ((lr / (1 - beta1 ** step)) * m) / denominator
    expAvg.data[i] = m
    expAvgSq.data[i] = v
  }
  return { parameter, expAvg, expAvgSq }
}

/** e <- decay e + (1 - decay) p. */
export function exponentialMovingAverage(average: NdArray, parameter: NdArray, decay: number): NdArray {
  const out = zeros(average.shape)
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = decay * average.data[i] + (1 - decay) * parameter.data[i]
  }
  return out
}
