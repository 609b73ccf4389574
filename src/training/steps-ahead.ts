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
  /** Images of a step. */
  readonly batch: number
  readonly device: Device
  /** When the first run() began, by performance.now(). */
  readonly began: number
}

/**
 * Makes steps, yielding each some steps after it was enqueued. Leaving the loop waits for what is under way, and so does a failure to
 * bring a step's samples: the steps before it are yielded first.
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
  const next = async () => {
    try {
      return await pipeline.next()
    } catch (reason) {
      failure = { reason }
      return undefined
    }
  }
  try {
    for (let samples = await next(); samples; samples = await next()) {
      const step = pipeline.enqueue(samples)
      // A failure is reported when the step's turn comes; until then it must not count as unhandled.
      step.catch(() => {})
      pending.push(step)
      if (pending.length > STEPS_AHEAD) yield await finish(pending.shift()!)
    }
    while (pending.length > 0) yield await finish(pending.shift()!)
    if (failure) throw failure.reason
  } catch (error) {
    await pipeline.closeLoader()
    throw error
  } finally {
    await Promise.allSettled(pending)
    await synchronize(device)
  }
}
