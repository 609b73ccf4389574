import { DIFFUSION_STEPS } from '../diffusion/gaussian-diffusion.ts'
import { DiT } from '../models/dit.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import { DiTObjective } from './dit-objective.ts'
import type { Objective } from './objective.ts'
import { SiTObjective } from './sit-objective.ts'

export interface ObjectiveSettings {
  /** SiT's interpolant. Default: linear. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. Default: uniform. */
  readonly weighting?: TimeWeighting
}

/** What a model of this kind is trained for; the caller disposes it. Throws for a setting that the kind does not have. */
export function objectiveFor(model: AnyTransformer, { path, weighting }: ObjectiveSettings = {}): Objective {
  if (!(model instanceof DiT)) return new SiTObjective({ path, weighting, convention: model.config.convention })
  if ((path ?? 'linear') !== 'linear' || (weighting ?? 'uniform') !== 'uniform') {
    const setting = path === undefined || path === 'linear' ? `weighting ${weighting}` : `path ${path}`
    throw new RangeError(
      `A DiT learns a fixed diffusion of ${DIFFUSION_STEPS} steps: it has no ${setting}, which is SiT's.`,
    )
  }
  return new DiTObjective(model)
}
