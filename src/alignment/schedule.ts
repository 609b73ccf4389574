import { type Decay, decayFactor } from '../nn/decay.ts'

/** How the weight of an alignment runs over training. */
export interface AlignmentSchedule {
  /**
   * The number of steps after which there is no alignment any more: neither encoders nor projectors are run then (HASTE,
   * arXiv 2505.16792). Default: there is to the end.
   */
  readonly until?: number
  /** How the weight gets to 0 at `until`: at once, or along a line or a half cosine from the first step on. Default: none. */
  readonly decay?: 'none' | Decay
}

/** Whether step number `step`, from 0, comes after the alignment. */
export function isOver(step: number, { until }: AlignmentSchedule): boolean {
  return until !== undefined && step >= until
}

/** What the weight is multiplied by in step number `step`, from 0. */
export function scheduleFactor(step: number, { until, decay = 'none' }: AlignmentSchedule): number {
  if (until === undefined) return 1
  if (step >= until) return 0
  if (decay === 'none') return 1
  return decayFactor(decay, step, until)
}
