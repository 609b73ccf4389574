import { expect, test } from 'vitest'
import type { Batch } from '../../src/data/loader.ts'
import { stepsAhead } from '../../src/training/steps-ahead.ts'

const SAMPLES: Batch = {
  step: 0,
  epoch: 0,
  indices: new Int32Array(0),
  labels: new Int32Array(0),
  features: [],
  latents: new Float32Array(0),
}

/** The steps at which something goes wrong, or after whose report the caller leaves. */
interface Happening {
  /** Its batch cannot be read. */
  readonly unread?: number
  /** It cannot be enqueued. */
  readonly refused?: number
  /** It fails on the device. */
  readonly failed?: number
  readonly left?: number
}

/** What five steps come to: what happened in its order, numbers being steps that the device has made, and what was thrown. */
async function run({ unread, refused, failed, left }: Happening): Promise<{ events: unknown[]; error?: unknown }> {
  const events: unknown[] = []
  let [read, enqueued] = [0, 0]
  const steps = stepsAhead({
    next: async () => {
      if (read === unread) throw new Error('unread')
      return read++ < 5 ? SAMPLES : undefined
    },
    enqueue() {
      const index = enqueued++
      if (index === refused) throw new Error('refused')
      return new Promise<{ index: number }>((resolve, reject) => {
        setTimeout(() => {
          events.push(index)
          if (index === failed) reject(new Error('failed'))
          else resolve({ index })
        }, 1)
      })
    },
    closeLoader: async () => void events.push('closed'),
    keep: (reports) => void events.push(`kept ${reports.map(({ index }) => index)}`),
    batch: 1,
    device: 'cpu',
    began: performance.now(),
  })
  try {
    for await (const { index } of steps) {
      events.push(`report ${index}`)
      if (index === left) break
    }
    return { events }
  } catch (error) {
    return { events, error }
  }
}

// Two steps are under way when one's turn comes to be reported.
test.each<readonly [string, Happening, readonly unknown[], string | undefined]>([
  [
    'all are reported in order, and the loader stays open',
    {},
    [0, 'report 0', 1, 'report 1', 2, 'report 2', 3, 'report 3', 4, 'report 4'],
    undefined,
  ],
  [
    'left by the caller: the steps under way are made, and kept',
    { left: 0 },
    [0, 'report 0', 1, 2, 'kept 1,2'],
    undefined,
  ],
  [
    'a step that fails on the device: the loader is closed, the steps behind it are waited for, and kept',
    { failed: 2 },
    [0, 'report 0', 1, 'report 1', 2, 'closed', 3, 4, 'kept 3,4'],
    'failed',
  ],
  [
    'a step that cannot be enqueued: the steps before it are reported',
    { refused: 4 },
    [0, 'report 0', 1, 'report 1', 2, 'report 2', 3, 'report 3', 'closed'],
    'refused',
  ],
  [
    'a batch that cannot be read: the steps before it are reported',
    { unread: 3 },
    [0, 'report 0', 1, 'report 1', 2, 'report 2', 'closed'],
    'unread',
  ],
])('%s', async (_, happening, events, message) => {
  const outcome = await run(happening)
  expect(outcome.events).toEqual(events)
  expect(outcome.error).toEqual(message === undefined ? undefined : new Error(message))
})
