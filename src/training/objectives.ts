import type { DiffusionTransformer } from '../models/diffusion-transformer.ts'
import { SiT } from '../models/sit.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import type { Objective } from './objective.ts'
import { SiTObjective } from './sit-objective.ts'

export interface ObjectiveSettings {
  /** SiT's interpolant. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. */
  readonly weighting?: TimeWeighting
}

/** What a model of this kind is trained for; the caller disposes it. Throws for a setting that its kind does not have. */
export function objectiveFor(model: DiffusionTransformer, { path, weighting }: ObjectiveSettings = {}): Objective {
  if (model instanceof SiT) return new SiTObjective({ path, weighting, convention: model.config.convention })
  throw new TypeError(`There is no objective for ${model.constructor.name}.`)
}
