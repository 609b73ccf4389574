import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { BETA_SCHEDULES, type BetaSchedule, betaSchedule } from './beta-schedule.ts'
import { respacedSteps } from './respacing.ts'

/** Steps of the diffusion that DiT is trained on. */
export const DIFFUSION_STEPS = 1000

export interface GaussianDiffusionOptions {
  /** Default: linear. */
  readonly schedule?: BetaSchedule
  /** T. Default: 1000. */
  readonly steps?: number
  /** The steps that are taken, as respacing.ts reads it. Default: all. */
  readonly respacing?: string
}

const schema = whenNeeded(() =>
  z
    .strictObject({
      schedule: z.enum(BETA_SCHEDULES).optional(),
      steps: z.int().positive().optional(),
      // respacing.ts says what of it is wrong.
      respacing: z.string().optional(),
    } satisfies Record<keyof GaussianDiffusionOptions, z.ZodType>)
    // The assertion on the betas in gaussian_diffusion.py. Of one step, β is the first: 0.1.
    .refine(({ schedule = 'linear', steps = 1 }) => schedule !== 'linear' || steps <= 1 || steps >= 20, {
      path: ['steps'],
      error: 'expected 20 at least of the linear schedule, whose last β is 20 / steps',
    }),
)

/**
 * A Gaussian diffusion (DDPM, arXiv 2006.11239) as DiT's GaussianDiffusion and SpacedDiffusion have it: tables over its steps
 * t = 0 … steps − 1 in float64, ᾱ being the product of the αs = 1 − β up to t.
 */
export interface GaussianDiffusion {
  readonly steps: number
  /** Of step t, that of the diffusion before respacing: what the model is told. */
  readonly timestepMap: readonly number[]
  readonly betas: Float64Array
  readonly alphasCumprod: Float64Array
  /** ᾱ of the step before; 1 at t = 0. */
  readonly alphasCumprodPrev: Float64Array
  /** Of q(x_{t−1} | x_t, x_0): β̃_t. */
  readonly posteriorVariance: Float64Array
  /** Its log, at t = 0 that of step 1: the variance is 0 there. */
  readonly posteriorLogVarianceClipped: Float64Array
  /** Of x_0 in the posterior's mean. */
  readonly posteriorMeanCoef1: Float64Array
  /** Of x_t in the posterior's mean. */
  readonly posteriorMeanCoef2: Float64Array
}

/**
 * The tables of a diffusion, of all its steps or of those that a respacing takes; by default DiT's.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a respacing that cannot be taken
 */
export function gaussianDiffusion(options: GaussianDiffusionOptions = {}): GaussianDiffusion {
  parseConfiguration(schema(), options, "the diffusion's options")
  const { schedule = 'linear', steps: total = DIFFUSION_STEPS, respacing = '' } = options
  const whole = betaSchedule(schedule, total)
  const timestepMap = respacing === '' ? [...whole.keys()] : respacedSteps(total, respacing)
  const betas = respacing === '' ? whole : respacedBetas(whole, timestepMap)
  const steps = betas.length
  const alphasCumprod = cumulativeAlphas(betas)
  const alphasCumprodPrev = Float64Array.from(alphasCumprod, (_, t) => (t === 0 ? 1 : alphasCumprod[t - 1]!))
  const table = (value: (beta: number, bar: number, previous: number, t: number) => number) =>
    Float64Array.from(betas, (beta, t) => value(beta, alphasCumprod[t]!, alphasCumprodPrev[t]!, t))
  const posteriorVariance = table((beta, bar, previous) => (beta * (1 - previous)) / (1 - bar))
  return {
    steps,
    timestepMap,
    betas,
    alphasCumprod,
    alphasCumprodPrev,
    posteriorVariance,
    // A diffusion of one step has no step 1 to borrow from; its β is as near.
    posteriorLogVarianceClipped: table((beta, _, __, t) => Math.log(posteriorVariance[Math.max(1, t)] ?? beta)),
    posteriorMeanCoef1: table((beta, bar, previous) => (beta * Math.sqrt(previous)) / (1 - bar)),
    posteriorMeanCoef2: table((beta, bar, previous) => ((1 - previous) * Math.sqrt(1 - beta)) / (1 - bar)),
  }
}

/** The βs with which the kept steps come to the same ᾱs. */
function respacedBetas(betas: Float64Array, kept: readonly number[]): Float64Array {
  const bars = cumulativeAlphas(betas)
  return Float64Array.from(kept, (t, i) => 1 - bars[t]! / (i === 0 ? 1 : bars[kept[i - 1]!]!))
}

function cumulativeAlphas(betas: Float64Array): Float64Array {
  let product = 1
  return betas.map((beta) => {
    product *= 1 - beta
    return product
  })
}
