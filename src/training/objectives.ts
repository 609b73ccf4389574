import { DIFFUSION_STEPS } from '../diffusion/gaussian-diffusion.ts'
import { DiT } from '../models/dit.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import { DiTObjective } from './dit-objective.ts'
import type { Objective } from './objective.ts'
import { SiTObjective } from './sit-objective.ts'
import type { TrainerOptions } from './trainer-options.ts'

export interface ObjectiveSettings {
  /** SiT's interpolant. Default: linear. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. Default: uniform. */
  readonly weighting?: TimeWeighting
  /** Of SiT's times, towards noise. Default 1: none. */
  readonly timeShift?: number
  /** Of the loss of a SiT's velocity's direction. Default 0: there is none. */
  readonly velocityCosineWeight?: number
}

/** Throws for a setting that the objective of this kind of model does not have, and for a loss that asks of it what it has not. */
export function requireObjective(
  model: AnyTransformer,
  {
    path = 'linear',
    weighting = 'uniform',
    timeShift = 1,
    velocityCosineWeight = 0,
    selfAlign,
    contrast,
  }: ObjectiveSettings & Pick<TrainerOptions, 'selfAlign' | 'contrast'>,
): void {
  if (!(model instanceof DiT)) return
  if (velocityCosineWeight > 0) {
    throw new RangeError('The cosine loss is of a velocity, and a DiT predicts noise; it is for SiT models.')
  }
  const setting = (
    [
      [path !== 'linear', `path ${path}`],
      [weighting !== 'uniform', `weighting ${weighting}`],
      [timeShift !== 1, `timeShift ${timeShift}`],
    ] as const
  ).find(([isSiTs]) => isSiTs)?.[1]
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

/** What a model of this kind is trained for; the caller disposes it. Throws for a setting that the kind does not have. */
export function objectiveFor(model: AnyTransformer, settings: ObjectiveSettings = {}): Objective {
  requireObjective(model, settings)
  return model instanceof DiT
    ? new DiTObjective(model)
    : new SiTObjective({ ...settings, convention: model.config.convention })
}
