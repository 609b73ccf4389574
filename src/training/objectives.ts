import * as z from 'zod'
import { firstThatHolds } from '../configuration/first-that-holds.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { DIFFUSION_STEPS } from '../diffusion/gaussian-diffusion.ts'
import { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { DiT } from '../models/dit.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import { DiTObjective } from './dit-objective.ts'
import type { Objective } from './objective.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'
import { SiTObjective } from './sit-objective.ts'
import type { TrainerOptions } from './trainer-options.ts'

/** What is left out is as in `REFERENCE_DEFAULTS`. */
export interface ObjectiveSettings {
  /** SiT's interpolant. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. */
  readonly weighting?: TimeWeighting
  /** Of SiT's times, towards noise; 1: none. */
  readonly timeShift?: number
  /** Of the loss of a SiT's velocity's direction; 0: there is none. */
  readonly velocityCosineWeight?: number
}

/** The schemas of `ObjectiveSettings`. */
export const objectiveSettings = () =>
  ({
    path: z.enum(['linear', 'cosine']).optional(),
    weighting: z.enum(['uniform', 'lognormal']).optional(),
    timeShift: z.number().positive().optional(),
    velocityCosineWeight: z.number().min(0).optional(),
  }) satisfies Record<keyof ObjectiveSettings, z.ZodType>

const argumentsSchema = whenNeeded(() =>
  z.strictObject({
    model: z.custom((value) => value instanceof DiffusionTransformer, 'expected a SiT or a DiT'),
    ...objectiveSettings(),
  }),
)

/** Throws for a setting that the objective of this kind of model does not have, and for a loss that asks of it what it has not. */
export function requireObjective(
  model: AnyTransformer,
  {
    path = REFERENCE_DEFAULTS.path,
    weighting = REFERENCE_DEFAULTS.weighting,
    timeShift = REFERENCE_DEFAULTS.timeShift,
    velocityCosineWeight = REFERENCE_DEFAULTS.velocityCosineWeight,
    selfAlign,
    contrast,
  }: ObjectiveSettings & Pick<TrainerOptions, 'selfAlign' | 'contrast'>,
): void {
  if (!(model instanceof DiT)) return
  if (velocityCosineWeight > 0) {
    throw new RangeError('The cosine loss is of a velocity, and a DiT predicts noise; it is for SiT models.')
  }
  const setting = firstThatHolds<string>([
    [path !== REFERENCE_DEFAULTS.path, `path ${path}`],
    [weighting !== REFERENCE_DEFAULTS.weighting, `weighting ${weighting}`],
    [timeShift !== REFERENCE_DEFAULTS.timeShift, `timeShift ${timeShift}`],
  ])
  if (setting !== undefined) {
    throw new RangeError(
      `A DiT learns a fixed diffusion of ${DIFFUSION_STEPS} steps: it has no ${setting}, which is SiT's.`,
    )
  }
  if (selfAlign) {
    throw new RangeError('Self-alignment needs times between steps, which a DiT has not; it is for SiT models.')
  }
  if (contrast) {
    throw new RangeError(
      'Contrastive flow matching contrasts velocities, and a DiT predicts noise; it is for SiT models.',
    )
  }
}

/**
 * What a model of this kind is trained for; the caller disposes it.
 *
 * @throws {ConfigurationError} for settings that are none; {RangeError} for one that this kind of model does not have
 */
export function objectiveFor(model: AnyTransformer, settings: ObjectiveSettings = {}): Objective {
  parseConfiguration(argumentsSchema(), { ...settings, model }, 'what objectiveFor is given')
  requireObjective(model, settings)
  return model instanceof DiT
    ? new DiTObjective(model)
    : new SiTObjective({ ...settings, convention: model.config.convention })
}
