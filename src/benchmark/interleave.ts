export interface InterleaveOptions {
  /** Runs once and resolves to the seconds that it took. */
  readonly ours: () => Promise<number>
  /** The same work by the baseline, in seconds. */
  readonly baseline: () => Promise<number>
  /** Measured pairs; `roundsOf` says how many there must be. */
  readonly rounds: number
  /** Pairs that run before and are not counted. */
  readonly warmup?: number
  /** Called after every measured pair. */
  readonly onRound?: (round: { index: number; rounds: number; ours: number; baseline: number }) => void
  /** Stops before the next run; {@link interleave} then rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** As {@link InterleaveOptions}, of one side. */
export interface TimeAloneOptions extends Pick<InterleaveOptions, 'ours' | 'rounds' | 'signal'> {
  /** Runs that come before and are not counted. */
  readonly warmup: number
  readonly onRound?: (round: MeasuredRound) => void
}

/** One of `rounds` measurements: of ours, and of the baseline's in turn. */
export interface MeasuredRound {
  readonly index: number
  readonly rounds: number
  readonly seconds: number
  readonly baseline?: number
}

/** The times of one side, in seconds. */
export interface TimeSeries {
  readonly seconds: readonly number[]
  readonly median: number
  readonly minimum: number
  readonly maximum: number
  /** Interquartile range over the median: how noisy the machine was. */
  readonly spread: number
}

export interface InterleavedComparison {
  readonly ours: TimeSeries
  readonly baseline: TimeSeries
  /** Baseline's median over ours: above 1 we are faster. */
  readonly ratio: number
  /** Median of each pair's ratio, which a slow drift of the machine hardly touches. */
  readonly pairedRatio: number
}

/**
 * Times two sides in turn, so that both see the same machine. The side that goes first changes every round: whatever
 * the first run of a pair gains or loses, and whatever drifts, falls on both alike.
 *
 * @throws {RangeError} where a run gives a time that is not above zero.
 */
export async function interleave(options: InterleaveOptions): Promise<InterleavedComparison> {
  const { rounds, warmup = 1, signal } = options
  if (!Number.isInteger(warmup) || warmup < 0) {
    throw new RangeError(`warmup is ${warmup}; expected an integer of at least 0.`)
  }
  const time = async (side: 'ours' | 'baseline') => {
    signal?.throwIfAborted()
    const seconds = await options[side]()
    if (!(seconds > 0 && seconds < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`A run of ${side} took ${seconds} seconds; expected a number above 0.`)
    }
    return seconds
  }
  const ours: number[] = []
  const baseline: number[] = []
  for (let round = 0 - warmup; round < rounds; round++) {
    const pair = { ours: 0, baseline: 0 }
    for (const side of round % 2 === 0 ? (['ours', 'baseline'] as const) : (['baseline', 'ours'] as const)) {
      pair[side] = await time(side)
    }
    if (round < 0) continue
    ours.push(pair.ours)
    baseline.push(pair.baseline)
    options.onRound?.({ index: round, rounds, ...pair })
  }
  const [us, them] = [timeSeries(ours), timeSeries(baseline)]
  return {
    ours: us,
    baseline: them,
    ratio: them.median / us.median,
    pairedRatio: quantile(
      ours.map((seconds, i) => baseline[i] / seconds),
      0.5,
    ),
  }
}

/** Times one side with nothing in turn. */
export async function timeAlone({ ours, rounds, warmup, signal, onRound }: TimeAloneOptions): Promise<TimeSeries> {
  const times: number[] = []
  for (let index = 0 - warmup; index < rounds; index++) {
    signal?.throwIfAborted()
    const seconds = await ours()
    if (index < 0) continue
    times.push(seconds)
    onRound?.({ index, rounds, seconds })
  }
  return timeSeries(times)
}

/** Median and spread of the times of one side. */
export function timeSeries(seconds: readonly number[]): TimeSeries {
  const median = quantile(seconds, 0.5)
  return {
    seconds,
    median,
    minimum: Math.min(...seconds),
    maximum: Math.max(...seconds),
    spread: (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / median,
  }
}

// Linear interpolation between order statistics, as numpy.quantile does by default.
function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const position = q * (sorted.length - 1)
  const below = Math.floor(position)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (position - below) * (sorted[above] - sorted[below])
}
