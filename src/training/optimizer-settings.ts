/** The settings of AdamW, checked before a step: a NaN, a negative rate or a misspelt name would spoil the weights, and no step would say so. */
import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { aTensor } from '../tensor/tensor-schema.ts'
import type { AdamWOptions, OptimizerCounters, StepSettings, StepState } from './optimizer.ts'

const optionsSchema = whenNeeded(() => {
  /** A setting whose value `requireSettings` checks. */
  const named = z.unknown().optional()
  return z.strictObject({
    learningRate: named,
    betas: named,
    epsilon: named,
    weightDecay: named,
    maxGradNorm: named,
    emaDecay: named,
    lossScale: named,
    undecayed: named,
    late: named,
  } satisfies Record<keyof AdamWOptions, z.ZodType>)
})

const stepSchema = whenNeeded(() =>
  optionsSchema().extend({
    holdsLate: z.boolean().optional(),
    learningRateFactor: aTensor('a Tensor of one number').optional(),
  }),
)

const countersSchema = whenNeeded(() => {
  const count = z.int().min(0)
  return z.strictObject({
    updates: count,
    skipped: count,
    held: count.optional(),
    lossScaling: z.strictObject({ scale: z.number().min(0), steps: count }).optional(),
    // What `state` gives besides, of the last step alone.
    gradNorm: z.unknown().optional(),
    finite: z.unknown().optional(),
  } satisfies Record<keyof StepState, z.ZodType>)
})

/** Those of a trainer's options, say, that are the optimizer's. */
export function optimizerOptionsOf(options: Partial<AdamWOptions>): Partial<AdamWOptions> {
  return Object.fromEntries(Object.entries(options).filter(([name]) => name in optionsSchema().shape))
}

/** @throws {ConfigurationError} where there are others than AdamW's */
export function requireOptionNames(options: Partial<AdamWOptions>): void {
  parseConfiguration(optionsSchema(), options, "AdamW's options")
}

/** @throws {ConfigurationError} for counters of which no bias correction would come */
export function requireCounters(counters: OptimizerCounters): void {
  parseConfiguration(countersSchema(), counters, 'the counters that AdamW goes on from')
}

/** @throws {ConfigurationError} where there are others than a step of AdamW's */
export function requireStepNames(settings: StepSettings): void {
  parseConfiguration(stepSchema(), settings, "AdamW's settings of a step")
}

/** @throws {RangeError} for settings of which no weights would come */
export function requireSettings(settings: AdamWOptions): void {
  const { learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay, lossScale } = settings
  const most = Number.MAX_VALUE
  const checks = [
    ['learningRate', learningRate, isWithin(learningRate, 0, most), 'a number, not negative'],
    [
      'betas',
      betas,
      [betas].flat().length === 2 && [betas].flat().every((beta) => isWithin(beta, 0, 1 - Number.EPSILON)),
      'two numbers from 0 to below 1',
    ],
    ['epsilon', epsilon, isWithin(epsilon, Number.MIN_VALUE, most), 'a number above 0'],
    ['weightDecay', weightDecay, isWithin(weightDecay, 0, most), 'a number, not negative'],
    ['maxGradNorm', maxGradNorm, isWithin(maxGradNorm, Number.MIN_VALUE, Number.POSITIVE_INFINITY), 'a number above 0'],
    ['emaDecay', emaDecay, isWithin(emaDecay, 0, 1), 'a number from 0 to 1'],
    ['lossScale', lossScale, isWithin(lossScale, 0, most), 'a number, not negative'],
  ] as const
  for (const [name, value, isRight, expected] of checks) {
    if (!isRight) throw new RangeError(`AdamW: ${name} is ${value}; ${expected} was expected.`)
  }
  for (const name of ['undecayed', 'late'] as const) {
    const ranges: unknown = settings[name]
    if (ranges === undefined || areRanges(ranges)) continue
    throw new RangeError(
      `AdamW: ${name} is ${JSON.stringify(ranges)}; begins and ends of ranges of the arena were expected, in pairs and ascending.`,
    )
  }
}

/** @throws {RangeError} where ranges are not all in an arena of so many floats */
export function requireRangesWithin({ undecayed, late }: AdamWOptions, size: number): void {
  for (const [name, ranges] of Object.entries({ undecayed, late })) {
    const end = ranges?.at(-1) ?? 0
    if (end > size) throw new RangeError(`AdamW: ${name} ends at ${end}, and the arena at ${size}.`)
  }
}

/** @throws {RangeError} where gradients could not be averaged by it */
export function requireGradientScale(gradientScale: number): void {
  if (isWithin(gradientScale, Number.MIN_VALUE, Number.MAX_VALUE)) return
  throw new RangeError(`AdamW: gradientScale is ${gradientScale}; a number above 0 was expected.`)
}

function isWithin(value: unknown, from: number, to: number): boolean {
  return typeof value === 'number' && value >= from && value <= to
}

function areRanges(value: unknown): boolean {
  if (!Array.isArray(value) || value.length % 2 !== 0) return false
  return value.every((bound, i) => Number.isInteger(bound) && bound >= (i === 0 ? 0 : value[i - 1]))
}
