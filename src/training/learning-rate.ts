import { firstThatHolds } from '../configuration/first-that-holds.ts'
import { type Decay, decayFactor } from '../nn/decay.ts'

/** How the learning rate runs over training; steps are counted from 0. */
export interface LearningRateSchedule {
  /** Steps in which it rises along a line, the first already one step up. Default: none. */
  readonly warmup?: number
  /** How it falls: not at all, or along a line or a half cosine. Default: none. */
  readonly decay?: 'none' | Decay
  /** The step up to which it is whole. Default: the end of the warm-up. */
  readonly from?: number
  /** The step from which on it is `final`. */
  readonly until?: number
  /** A learning rate, not a share of one. Default: 0. */
  readonly final?: number
}

const beginOf = ({ warmup = 0, from = warmup }: LearningRateSchedule) => from

/** The learning rate of step number `step`, from 0, of a schedule whose whole one is `peak`. */
export function learningRateAt(step: number, peak: number, schedule: LearningRateSchedule): number {
  const { warmup = 0, decay = 'none', until, final = 0 } = schedule
  if (step < warmup) return (peak * (step + 1)) / warmup
  const from = beginOf(schedule)
  if (decay === 'none' || until === undefined || step <= from) return peak
  if (step >= until) return final
  return final + (peak - final) * decayFactor(decay, step - from, until - from)
}

/** Throws, in a sentence, for a schedule that is none. */
export function requireLearningRateSchedule(peak: number, schedule: LearningRateSchedule): void {
  const { warmup = 0, decay = 'none', from, until, final } = schedule
  const contradictions: readonly (readonly [boolean, string])[] = [
    [
      decay === 'none' && (from ?? until ?? final) !== undefined,
      'Where and at what a decay of the learning rate ends is given, and it does not decay; give `learningRateDecay` linear or cosine.',
    ],
    [
      decay !== 'none' && until === undefined,
      `A ${decay} decay of the learning rate needs the step at which it ends; give \`learningRateDecayUntil\`.`,
    ],
    [
      from !== undefined && from < warmup,
      `The learning rate cannot fall from step ${from} on while it rises up to step ${warmup}; let \`learningRateDecayFrom\` be ${warmup} at least.`,
    ],
    [
      until !== undefined && until <= beginOf(schedule),
      `The learning rate cannot fall from step ${beginOf(schedule)} until step ${until}; let \`learningRateDecayUntil\` be later.`,
    ],
    [
      final !== undefined && final > peak,
      `The learning rate cannot fall from ${peak} to ${final}; let \`learningRateFinal\` be less than \`learningRate\`.`,
    ],
  ]
  const sentence = firstThatHolds(contradictions)
  if (sentence !== undefined) throw new RangeError(sentence)
}
