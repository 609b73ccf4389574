import type { GpuClocks } from './gpu-clocks.ts'

/** A part of a run of many steps. */
export interface SustainedInterval {
  /** When it began, in seconds of the run. */
  readonly start: number
  readonly seconds: number
  readonly steps: number
  /** By the seconds of its steps alone, as a benchmark's steps are timed. */
  readonly imagesPerSecond: number
  /** What the driver said in the middle of it; undefined on a CPU and where nvidia-smi does not answer. */
  readonly clocks: GpuClocks | undefined
}

/** What is left of a rate where the steps go on and the chip gets warm. */
export interface SustainedRate {
  readonly seconds: number
  readonly steps: number
  readonly imagesPerSecond: number
  /** `imagesPerSecond` over that of the few steps measured before. */
  readonly shareOfShort: number
  readonly intervals: readonly SustainedInterval[]
}

export interface SustainedOptions {
  /** Makes one step; the seconds that it took. */
  readonly step: () => Promise<number>
  /** Images of a step. */
  readonly batch: number
  /** The run ends with the first step that ends after so many. */
  readonly seconds: number
  /** Images per second of the few steps measured before. */
  readonly short: number
  /** Seconds of an interval. Default 5. */
  readonly interval?: number
  readonly readClocks?: () => Promise<GpuClocks | undefined>
  readonly signal?: AbortSignal
  /** Called after each step. */
  readonly onStep?: (sofar: { readonly steps: number; readonly seconds: number }) => void
  /** Milliseconds, as `performance.now()` counts them. */
  readonly now?: () => number
}

const INTERVAL = 5

/** Makes steps with nothing between them for so many seconds; their rate, and what the GPU ran at, interval by interval. */
export async function sustainedRate(options: SustainedOptions): Promise<SustainedRate> {
  const { step, batch, seconds, short, interval = INTERVAL, readClocks, signal, onStep } = options
  const { now = () => performance.now() } = options
  const began = now()
  const elapsed = () => (now() - began) / 1000
  const rate = (steps: number, inSteps: number) => (batch * steps) / inSteps
  const total = { steps: 0, inSteps: 0 }
  const intervals: (Omit<SustainedInterval, 'clocks'> & { clocks: Promise<GpuClocks | undefined> | undefined })[] = []
  let time = 0
  while (time < seconds) {
    const start = time
    const end = endOfInterval(start, interval, seconds)
    const part = { steps: 0, inSteps: 0 }
    let clocks: Promise<GpuClocks | undefined> | undefined
    while (time < end) {
      signal?.throwIfAborted()
      part.inSteps += await step()
      part.steps++
      time = elapsed()
      onStep?.({ steps: total.steps + part.steps, seconds: time })
      // Not waited for: the GPU would be idle meanwhile.
      if (time >= (start + end) / 2) clocks ??= readClocks?.()
    }
    intervals.push({
      start,
      seconds: time - start,
      steps: part.steps,
      imagesPerSecond: rate(part.steps, part.inSteps),
      clocks,
    })
    total.steps += part.steps
    total.inSteps += part.inSteps
  }
  const imagesPerSecond = rate(total.steps, total.inSteps)
  return {
    seconds: time,
    steps: total.steps,
    imagesPerSecond,
    shareOfShort: imagesPerSecond / short,
    intervals: await Promise.all(intervals.map(async (part) => ({ ...part, clocks: await part.clocks }))),
  }
}

/** The next multiple of the interval; what would be left of the run after it and is less than half of one belongs to it too. */
function endOfInterval(start: number, interval: number, seconds: number): number {
  const end = (Math.floor(start / interval) + 1) * interval
  return seconds - end < interval / 2 ? seconds : end
}
