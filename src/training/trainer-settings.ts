/** The options of a Trainer, checked before its first step: of a program without types, nothing but the results would show what is wrong. */
import * as z from 'zod'
import { aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { Dataset } from '../data/dataset.ts'
import { aWorld } from '../distributed/world-schema.ts'
import { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { RECOMPUTATIONS } from '../tensor/recomputation.ts'
import type { TrainingConfiguration } from './configuration.ts'
import { type LearningRateSchedule, requireLearningRateSchedule } from './learning-rate.ts'
import { objectiveSettings } from './objectives.ts'
import { PRECISIONS } from './precision.ts'
import type { RunOptions, TrainerOptions } from './trainer-options.ts'

function isEncoder(value: unknown): boolean {
  return typeof value === 'object' && value !== null && ('features' in value || 'store' in value)
}

const schema = whenNeeded(() => {
  const positive = z.int().positive()
  const weight = z.number().min(0)
  /** An option that is checked where it is used. */
  const elsewhere = z.unknown().optional()
  const encoders = z.custom(
    (value) => [value].flat().length > 0 && [value].flat().every(isEncoder),
    'expected an encoder as loadEncoder gives it, or several in an array',
  )
  return z.strictObject({
    model: z.custom((value) => value instanceof DiffusionTransformer, 'expected a SiT or a DiT'),
    data: z.custom((value) => value instanceof Dataset, 'expected a Dataset, as Dataset.open gives it'),
    autoencoder: z
      .custom(
        (value) => typeof value === 'object' && value !== null && 'encodeImages' in value,
        'expected an autoencoder, as loadAutoencoder gives it',
      )
      .optional(),
    captionEncoder: z
      .custom(
        (value) => typeof value === 'object' && value !== null && 'tokenize' in value,
        'expected a caption encoder, as loadCaptionEncoder gives it',
      )
      .optional(),
    batch: positive,
    accumulate: elsewhere,
    world: aWorld('begins').optional(),
    seed: z.int().min(0).optional(),
    precision: z.enum(PRECISIONS).optional(),
    recompute: z.enum(RECOMPUTATIONS).optional(),
    cudaGraph: z.boolean().optional(),
    ...objectiveSettings(),
    flip: z.boolean().optional(),
    configuration: elsewhere,
    align: z
      .strictObject({
        encoder: encoders,
        depth: positive.optional(),
        weight: weight.optional(),
        loss: z.enum(['cosine', 'nt-xent']).optional(),
        temperature: z.number().positive().optional(),
        projector: z.enum(['mlp', 'conv']).optional(),
        spatialNorm: z.number().min(0).optional(),
        attention: z.strictObject({ weight, blocks: positive.optional(), heads: positive.optional() }).optional(),
      })
      .refine(({ loss, temperature }) => temperature === undefined || loss === 'nt-xent', {
        path: ['temperature'],
        error: "expected none, as it is of NT-Xent and the loss is the cosine; give loss: 'nt-xent' too",
      })
      .optional(),
    selfAlign: z
      .strictObject({ weight, depth: z.number(), teacherDepth: z.number(), timeOffset: z.number().min(0).max(1) })
      .optional(),
    disperse: z.strictObject({ weight, depth: z.number(), temperature: z.number().positive() }).optional(),
    classToken: z.strictObject({ weight }).optional(),
    contrast: z.strictObject({ weight: weight.lt(1) }).optional(),
    route: z.strictObject({ share: z.number(), from: z.number(), to: z.number() }).optional(),
    alignSchedule: z
      .strictObject({ until: positive.optional(), decay: z.enum(['none', 'linear', 'cosine']).optional() })
      .optional(),
    learningRateSchedule: z
      .strictObject({
        warmup: z.int().min(0).optional(),
        decay: z.enum(['none', 'linear', 'cosine']).optional(),
        from: z.int().min(0).optional(),
        until: positive.optional(),
        final: z.number().min(0).optional(),
      })
      .optional(),
    // AdamWOptions, but for ranges of the arena: an alignment's projectors, or its head, move what follows them there.
    learningRate: elsewhere,
    betas: elsewhere,
    epsilon: elsewhere,
    weightDecay: elsewhere,
    maxGradNorm: elsewhere,
    emaDecay: elsewhere,
    lossScale: elsewhere,
  } satisfies Record<keyof TrainerOptions, z.ZodType>)
})

/** @throws {ConfigurationError} naming every option that is wrong */
export function requireTrainerOptions(options: TrainerOptions): void {
  parseConfiguration(schema(), options, "the trainer's options")
}

const runSchema = whenNeeded(() =>
  z.strictObject({ steps: z.unknown(), signal: aSignal().optional() } satisfies Record<keyof RunOptions, z.ZodType>),
)

/**
 * @throws {ConfigurationError} naming every option that is wrong
 * @throws {RangeError} where the number of steps is none
 */
export function requireRunOptions(options: RunOptions): void {
  const { steps } = parseConfiguration(runSchema(), options, "the run's options")
  // Infinity: until the signal, or the loop, ends it.
  const isCount = Number.isSafeInteger(steps) && (steps as number) >= 0
  if (!isCount && steps !== Number.POSITIVE_INFINITY) {
    throw new RangeError(`run: steps is ${steps}; the number of steps in all was expected.`)
  }
}

const saveSchema = whenNeeded(() => z.strictObject({ resumeOnly: z.boolean().default(false) }))

/** @throws {ConfigurationError} for an option of `Trainer.save` that is none */
export function saveOptionsOf(options: { readonly resumeOnly?: boolean }): { readonly resumeOnly: boolean } {
  return parseConfiguration(saveSchema(), options, 'the options of save')
}

/** Undefined where the learning rate is the same at every step. */
function learningRateScheduleOf(configuration: TrainingConfiguration): LearningRateSchedule | undefined {
  const { learningRateWarmup: warmup, learningRateDecay: decay, learningRateDecayFrom: from } = configuration
  const { learningRateDecayUntil: until, learningRateFinal: final } = configuration
  const schedule = { warmup, decay, from, until, final }
  requireLearningRateSchedule(configuration.learningRate, schedule)
  return warmup === 0 && decay === 'none' ? undefined : schedule
}

/** What of a run's configuration a Trainer takes as it is. */
export function trainerSettings(configuration: TrainingConfiguration) {
  const { batch, accumulate, seed, precision, cudaGraph, path, weighting, timeShift, velocityCosineWeight, flip } =
    configuration
  const { learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay } = configuration
  const optimizer = { learningRate, betas, epsilon, weightDecay, maxGradNorm, emaDecay }
  const learningRateSchedule = learningRateScheduleOf(configuration)
  const objective = { path, weighting, timeShift, velocityCosineWeight }
  return { batch, accumulate, seed, precision, cudaGraph, ...objective, flip, ...optimizer, learningRateSchedule }
}
