/**
 * DiT's samplers (gaussian_diffusion.py): DDPM's ancestral sampling over respaced steps, and DDIM (arXiv 2010.02502), with
 * classifier-free guidance. The state is float64 and the model runs in float32.
 */
import type { DiT } from '../models/dit.ts'
import { cast } from '../tensor/ops/cast.ts'
import { type DenoisingStep, denoisingStep, guide } from '../tensor/ops/diffusion.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { DIFFUSION_STEPS, type GaussianDiffusion, gaussianDiffusion } from './gaussian-diffusion.ts'
import { ConditionalModel, type Guidance, guidedChannels, isGuidedAt, type SampledCondition } from './guidance.ts'
import { diffusionSamplerSchema, requireKind, requireOptions } from './sampler-options.ts'
import { type StepThroughOptions, stepThrough } from './step-through.ts'

export interface DiffusionStepOptions {
  readonly mode: 'ddpm' | 'ddim'
  /** Of DDIM: how much of DDPM's noise it adds, 0 to 1. Default: 0. */
  readonly eta?: number
  /** Clip what the model takes for x_0 to [−1, 1] (clip_denoised). Default: false. */
  readonly clip?: boolean
}

export interface DenoiseOptions extends DiffusionStepOptions, StepThroughOptions {
  /** N(0, 1) of the state's shape, f32, for step number `step` from 0; not called where a step adds none. */
  readonly noise?: (step: number) => Tensor
}

export interface DiffusionSamplerOptions extends DenoiseOptions {
  /** How many steps, or a respacing as respacing.ts reads it. */
  readonly steps: number | string
  /** Default: none. */
  readonly guidance?: Guidance
  /** Shown the conditional model input at every model call. */
  readonly observeInput?: (input: Tensor, t: number) => void
}

/**
 * Samples from noise [B, C, H, W] (f32) with a class label for each sample (the null class: none). Returns the last state, f64
 * [B, C, H, W]; the caller disposes it. Throws the signal's reason when aborted.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a label or guidance that the model has no row for, and for steps
 *   that cannot be taken
 */
export async function sampleDiffusion(
  model: DiT,
  noise: Tensor,
  condition: SampledCondition,
  options: DiffusionSamplerOptions,
): Promise<Tensor> {
  requireKind(model, 'DiT')
  requireOptions(diffusionSamplerSchema, options)
  const { steps, guidance, observeInput } = options
  const diffusion = gaussianDiffusion({ steps: DIFFUSION_STEPS, respacing: String(steps) })
  using conditional = new ConditionalModel(model, condition, guidance)
  const predict = (x: Tensor, t: number): Tensor => {
    observeInput?.(x, t)
    if (!isGuidedAt(guidance, t / (DIFFUSION_STEPS - 1))) return conditional.predict(x, t).prediction
    return guide(conditional.predictBoth(x, t).prediction, guidance.scale, guidedChannels(model, guidance)).slice(
      0,
      noise.shape[0]!,
    )
  }
  return await denoise(diffusion, predict, noise, options)
}

/**
 * Goes through a diffusion from its last step to its first. `predict` is shown the state (f32) and the step of the diffusion before
 * respacing, and says the noise in it, with the variance's v behind it where the model learned that: [B, C, H, W] or [B, 2C, H, W].
 */
export async function denoise(
  diffusion: GaussianDiffusion,
  predict: (x: Tensor, t: number) => Tensor,
  noise: Tensor,
  options: DenoiseOptions,
): Promise<Tensor> {
  const { steps } = diffusion
  const step = (state: Tensor, i: number): Tensor => {
    const t = steps - 1 - i
    const prediction = predict(cast(state, 'f32'), diffusion.timestepMap[t]!)
    const back = stepCoefficients(diffusion, t, options, prediction.shape[1] !== state.shape[1])
    return denoisingStep(state, prediction, isNoisy(back, t) ? noiseOf(options, i) : undefined, back)
  }
  return await stepThrough(noise, steps, step, options)
}

/** The last step, and DDIM with an η of 0, add no noise. */
function isNoisy({ logVariances }: DenoisingStep, t: number): boolean {
  return t > 0 && logVariances[1] > Number.NEGATIVE_INFINITY
}

function noiseOf({ noise, mode }: DenoiseOptions, step: number): Tensor {
  if (!noise) throw new TypeError(`denoise: ${mode} needs \`noise\`.`)
  return noise(step)
}

/** A step back from step t, for a model that predicts noise. */
export function stepCoefficients(
  diffusion: GaussianDiffusion,
  t: number,
  { mode, eta = 0, clip = false }: DiffusionStepOptions,
  learnsVariance: boolean,
): DenoisingStep {
  const bar = diffusion.alphasCumprod[t]!
  const x0FromX = Math.sqrt(1 / bar)
  const x0FromPrediction = -Math.sqrt(1 / bar - 1)
  if (mode === 'ddpm') {
    const largest = Math.log(diffusion.betas[t]!)
    // Without a learned variance, the larger of its bounds: at t = 0, where no noise is added, either.
    const smallest = learnsVariance ? diffusion.posteriorLogVarianceClipped[t]! : largest
    return {
      x0FromX,
      x0FromPrediction,
      clip,
      meanFromX0: diffusion.posteriorMeanCoef1[t]!,
      meanFromX: diffusion.posteriorMeanCoef2[t]!,
      logVariances: [smallest, largest],
    }
  }
  const previous = diffusion.alphasCumprodPrev[t]!
  const sigma = eta * Math.sqrt((1 - previous) / (1 - bar)) * Math.sqrt(1 - bar / previous)
  // x_{t−1} = √ᾱ_{t−1} x_0 + direction ε, where ε is what leads from x_0 to x.
  const direction = Math.sqrt(Math.max(0, 1 - previous - sigma * sigma))
  const ofX0 = -direction / x0FromPrediction
  return {
    x0FromX,
    x0FromPrediction,
    clip,
    meanFromX0: Math.sqrt(previous) - ofX0,
    meanFromX: ofX0 * x0FromX,
    logVariances: [2 * Math.log(sigma), 2 * Math.log(sigma)],
  }
}
