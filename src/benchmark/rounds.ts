/** Fewer rounds than this let one disturbance decide a median. */
const MINIMUM_ROUNDS = 7

export interface RoundsOptions {
  /** Default 7. */
  readonly rounds?: number
  /** A baseline in turn with ours. */
  readonly against?: unknown
  /** Our work in turn alone and beside a busy process. */
  readonly besideBusyProcess?: boolean
}

/**
 * How many rounds a benchmark measures: at least 7 where two sides are compared, and one where a side is alone. Asked before anything is
 * started, for a baseline and a GPU take a while.
 *
 * @throws {RangeError} for too few, or what is no integer
 */
export function roundsOf({ rounds = MINIMUM_ROUNDS, against, besideBusyProcess = false }: RoundsOptions): number {
  const least = against !== undefined || besideBusyProcess ? MINIMUM_ROUNDS : 1
  if (Number.isInteger(rounds) && rounds >= least) return rounds
  throw new RangeError(`rounds is ${rounds}; a median wants an integer of at least ${least}.`)
}
