import type { InterpolantPath } from '../native.ts'
import type { LoadedModel } from '../training/load-model.ts'
import type { Output } from './output.ts'

/** Warns where a model is asked on another path than the one that its checkpoint says it learnt. */
export function warnOfOtherPath(
  { source, path: learned }: Pick<LoadedModel, 'source' | 'path'>,
  asked: InterpolantPath | undefined,
  out: Output,
): void {
  if (learned === undefined || asked === undefined || asked === learned) return
  out.warn(`${source} was trained on the ${learned} path, and is asked for velocities of the ${asked} one.`)
}
