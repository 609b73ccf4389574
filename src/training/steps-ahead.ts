import type { Batch } from '../data/loader.ts'
import { type Device, synchronize } from '../tensor/device.ts'

/** Steps that may be under way on the device before the host waits for the oldest. */
const STEPS_AHEAD = 2

export interface StepTiming {
  readonly imagesPerSecond: number
  /** Since the first run() began. */
  readonly seconds: number
}

interface StepPipeline<Report> {
  /** What the next step sees; undefined where there is none to make. */
  readonly next: () => Promise<Batch | undefined>
  /** Enqueues a step; the promise settles when the device has made it. */
  readonly enqueue: (samples: Batch) => Promise<Report>
  /** Closes the loader after a failure: its position may be past the step's by then, and the next run opens it anew. */
  readonly closeLoader: () => Promise<void>
  /** Told, in their order, of the steps that were made and are yielded no more: the caller has left the loop, or a step before them failed. */
  readonly keep: (reports: readonly (Report & StepTiming)[]) => void
  /** Images of a step. */
  readonly batch: number
  readonly device: Device
  /** When the first run() began, by performance.now(). */
  readonly began: number
}

/**
 * Makes steps, yielding each some steps after it was enqueued. Leaving the loop waits for what is under way, and so does a failure to
 * bring a step's samples or to enqueue it: the steps before it are yielded first.
 */
export async function* stepsAhead<Report extends object>(
  pipeline: StepPipeline<Report>,
): AsyncGenerator<Report & StepTiming, void, void> {
  const { batch, device, began } = pipeline
  const pending: Promise<Report>[] = []
  let last = performance.now()
  const finish = async (step: Promise<Report>): Promise<Report & StepTiming> => {
    const report = await step
    const now = performance.now()
    const imagesPerSecond = (1000 * batch) / (now - last)
    last = now
    return { ...report, imagesPerSecond, seconds: (now - began) / 1000 }
  }
  let failure: { readonly reason: unknown } | undefined
  /** Enqueues the next step; undefined where there is none, or none that can be made. */
  const begin = async (): Promise<{ readonly step: Promise<Report> } | undefined> => {
    try {
      const samples = await pipeline.next()
      return samples && { step: pipeline.enqueue(samples) }
    } catch (reason) {
      failure = { reason }
      return undefined
    }
  }
  try {
    for (let begun = await begin(); begun; begun = await begin()) {
      // A failure is reported when the step's turn comes; until then it must not count as unhandled.
      begun.step.catch(() => {})
      pending.push(begun.step)
      if (pending.length > STEPS_AHEAD) yield await finish(pending.shift()!)
    }
    while (pending.length > 0) yield await finish(pending.shift()!)
    if (failure) throw failure.reason
  } catch (error) {
    await pipeline.closeLoader()
    throw error
  } finally {
    const left = await Promise.allSettled(pending.map(finish))
    const made = left.filter((outcome) => outcome.status === 'fulfilled')
    if (made.length > 0) pipeline.keep(made.map(({ value }) => value))
    await synchronize(device)
  }
}
