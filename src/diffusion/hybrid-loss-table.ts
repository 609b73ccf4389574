import type { GaussianDiffusion } from './gaussian-diffusion.ts'

/** What a model predicts of the sample it is shown: the noise in it, or the sample without noise. */
export type DiffusionPrediction = 'epsilon' | 'x-start'

/** Coefficients [steps, 2] of x_0 and ε in x_t (q_sample). */
export function noisingTable({ alphasCumprod }: GaussianDiffusion): Float64Array {
  return Float64Array.from([...alphasCumprod].flatMap((bar) => [Math.sqrt(bar), Math.sqrt(1 - bar)]))
}

/** What each step gives the hybrid loss, [steps, 4]: native/cpu/hybrid_loss.h's HybridLossStep, field by field. */
export function hybridLossTable(diffusion: GaussianDiffusion, predicts: DiffusionPrediction = 'epsilon'): Float64Array {
  const { betas, alphasCumprod, posteriorLogVarianceClipped, posteriorMeanCoef1 } = diffusion
  const rows = [...betas].flatMap((beta, t) => {
    const logVariance = posteriorLogVarianceClipped[t]!
    const logRange = Math.log(beta) - logVariance
    const offset = predicts === 'epsilon' ? Math.sqrt(1 / alphasCumprod[t]! - 1) : -1
    const meanWeight = (posteriorMeanCoef1[t]! * offset) ** 2 / Math.exp(logVariance)
    return [logRange, meanWeight, offset, logVariance]
  })
  return Float64Array.from(rows)
}
