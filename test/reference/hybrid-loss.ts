import type { GaussianDiffusion } from '../../src/diffusion/gaussian-diffusion.ts'
import { type NdArray, zeros } from './array.ts'

/** DiT's losses as its code goes: x_t, both Gaussians' means and variances, their divergence, or the likelihood of a grey level. */
export interface HybridLossInputs {
  /** [B, 2C, ...]. */
  readonly prediction: NdArray
  /** [B, C, ...]. */
  readonly noise: NdArray
  readonly x0: NdArray
  readonly t: readonly number[]
  readonly predicts?: 'epsilon' | 'x-start'
}

export interface HybridLossWeights {
  readonly mse: number
  readonly vb: number
  readonly throughMean: boolean
}

/** Per sample [B]: mse, and vb in bits a dimension. */
export function hybridLoss(inputs: HybridLossInputs, diffusion: GaussianDiffusion): { mse: NdArray; vb: NdArray } {
  const batch = inputs.t.length
  const size = inputs.noise.data.length / batch
  const losses = { mse: zeros([batch]), vb: zeros([batch]) }
  forEachElement(inputs, diffusion, ({ sample, error, bound }) => {
    losses.mse.data[sample] += error ** 2 / size
    losses.vb.data[sample] += bound / Math.LN2 / size
  })
  return losses
}

/** Gradient of weights.mse · mean(mse) + weights.vb · mean(vb) by the prediction. */
export function hybridLossBackward(
  inputs: HybridLossInputs,
  diffusion: GaussianDiffusion,
  weights: HybridLossWeights,
): NdArray {
  const d = zeros(inputs.prediction.shape)
  const elements = inputs.noise.data.length
  forEachElement(inputs, diffusion, ({ at, atV, error, byMean, byLogVariance, meanByPrediction, logVarianceByV }) => {
    const vb = weights.vb / (elements * Math.LN2)
    d.data[at] = (weights.mse * 2 * error) / elements + (weights.throughMean ? vb * byMean * meanByPrediction : 0)
    d.data[atV] = vb * byLogVariance * logVarianceByV
  })
  return d
}

/** One element's part of the losses, and its derivatives. */
interface Element {
  readonly sample: number
  /** Of the prediction, and of its v, in `prediction`. */
  readonly at: number
  readonly atV: number
  readonly error: number
  /** In nats. */
  readonly bound: number
  readonly byMean: number
  readonly byLogVariance: number
  readonly meanByPrediction: number
  readonly logVarianceByV: number
}

function forEachElement(
  { prediction, noise, x0, t, predicts = 'epsilon' }: HybridLossInputs,
  diffusion: GaussianDiffusion,
  visit: (element: Element) => void,
): void {
  const size = noise.data.length / t.length
  for (let i = 0; i < noise.data.length; i++) {
    const sample = Math.floor(i / size)
    const step = t[sample]
    const at = 2 * sample * size + (i % size)
    const [p, v] = [prediction.data[at], prediction.data[at + size]]
    const bar = diffusion.alphasCumprod[step]
    const xt = Math.sqrt(bar) * x0.data[i] + Math.sqrt(1 - bar) * noise.data[i]
    const [c1, c2] = [diffusion.posteriorMeanCoef1[step], diffusion.posteriorMeanCoef2[step]]
    const isNoise = predicts === 'epsilon'
    const predictedX0 = isNoise ? Math.sqrt(1 / bar) * xt - Math.sqrt(1 / bar - 1) * p : p
    const mean = c1 * predictedX0 + c2 * xt
    const posteriorMean = c1 * x0.data[i] + c2 * xt
    const [smallest, largest] = [diffusion.posteriorLogVarianceClipped[step], Math.log(diffusion.betas[step])]
    const f = (v + 1) / 2
    const logVariance = f * largest + (1 - f) * smallest
    const bound =
      step === 0
        ? negativeLogLikelihood(x0.data[i], mean, logVariance)
        : divergence(posteriorMean, smallest, mean, logVariance)
    visit({
      sample,
      at,
      atV: at + size,
      error: p - (isNoise ? noise.data[i] : x0.data[i]),
      bound: bound.value,
      byMean: bound.byMean,
      byLogVariance: bound.byLogVariance,
      meanByPrediction: c1 * (isNoise ? -Math.sqrt(1 / bar - 1) : 1),
      logVarianceByV: (largest - smallest) / 2,
    })
  }
}

interface Bound {
  readonly value: number
  readonly byMean: number
  readonly byLogVariance: number
}

/** KL(N(mean1, variance1) ‖ N(mean2, variance2)), and its derivatives by the second. */
function divergence(mean1: number, logVariance1: number, mean2: number, logVariance2: number): Bound {
  const ratio = Math.exp(logVariance1 - logVariance2)
  const distance = (mean1 - mean2) ** 2 * Math.exp(-logVariance2)
  return {
    value: 0.5 * (-1 + logVariance2 - logVariance1 + ratio + distance),
    byMean: -(mean1 - mean2) * Math.exp(-logVariance2),
    byLogVariance: 0.5 * (1 - ratio - distance),
  }
}

function negativeLogLikelihood(x: number, mean: number, logVariance: number): Bound {
  const deviation = Math.exp(0.5 * logVariance)
  const [above, below] = [(x - mean + 1 / 255) / deviation, (x - mean - 1 / 255) / deviation]
  const [upper, lower] = [cdf(above), cdf(below)]
  const mass = x < -0.999 ? upper.value : x > 0.999 ? 1 - lower.value : upper.value - lower.value
  if (mass < 1e-12) return { value: -Math.log(1e-12), byMean: 0, byLogVariance: 0 }
  const byAbove = x > 0.999 ? 0 : upper.slope
  const byBelow = x < -0.999 ? 0 : -lower.slope
  return {
    value: -Math.log(mass),
    byMean: (byAbove + byBelow) / deviation / mass,
    byLogVariance: (above * byAbove + below * byBelow) / 2 / mass,
  }
}

/** The normal distribution function by its tanh approximation. */
function cdf(x: number): { value: number; slope: number } {
  const k = Math.sqrt(2 / Math.PI)
  const value = 0.5 * (1 + Math.tanh(k * (x + 0.044715 * x ** 3)))
  return { value, slope: 2 * value * (1 - value) * k * (1 + 3 * 0.044715 * x ** 2) }
}
