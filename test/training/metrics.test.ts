/** The log of a run that is resumed: nothing of the steps that it repeats is there twice. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { readEvents, type TensorBoardEvent } from '../../src/formats/tensorboard-reader.ts'
import { MetricsLog } from '../../src/training/metrics.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'

const PNG = encodePng(new Uint8Array(3), 1, 1, 3)

/** Logs steps from `begin` to `end`, and grids of samples after some of them. */
async function session(folder: string, [begin, end]: readonly [number, number], grids: readonly number[]) {
  const log = await MetricsLog.open(folder, join(folder, 'metrics.jsonl'), begin - 1)
  for (let step = begin; step <= end; step++) {
    await log.append({ step }, [['loss/total', step]])
    if (grids.includes(step)) log.image('samples', PNG, step)
  }
  await log.close()
}

/** The events of each of a folder's files, the older first. */
async function eventsIn(folder: string): Promise<TensorBoardEvent[][]> {
  const files = (await readdir(folder)).filter((name) => name.startsWith('events.out.tfevents.')).sort()
  return Promise.all(
    files.map(async (name) => {
      const events: TensorBoardEvent[] = []
      for await (const event of readEvents(join(folder, name))) events.push(event)
      return events
    }),
  )
}

/**
 * What TensorBoard shows, as steps under their tags: where a session starts, it keeps of what it has read the events of lesser steps
 * (event_accumulator.py, _Purge).
 */
function shown(events: readonly TensorBoardEvent[]): Record<string, number[]> {
  let kept: { tag: string; step: number }[] = []
  for (const { step, sessionStart, values } of events) {
    if (sessionStart) kept = kept.filter((before) => before.step < step)
    kept.push(...values.map(({ tag }) => ({ tag, step })))
  }
  return Object.fromEntries(
    ['loss/total', 'samples'].map((tag) => [tag, kept.filter((each) => each.tag === tag).map(({ step }) => step)]),
  )
}

test.each([
  { name: 'after its last checkpoint', begin: 6, grids: [2, 5] },
  { name: 'before its first', begin: 1, grids: [] },
])('a run that was killed $name goes on from there for TensorBoard too', async ({ begin, grids }) => {
  const folder = temporaryFolder()
  await session(folder, [1, 8], [2, 5, 7])
  await session(folder, [begin, 9], [9])
  const [, second] = await eventsIn(folder)
  expect(second!.slice(0, 2).map(({ sessionStart, step }) => [sessionStart, step])).toEqual([
    [false, 0],
    [true, begin],
  ])
  expect(shown((await eventsIn(folder)).flat())).toEqual({
    'loss/total': [1, 2, 3, 4, 5, 6, 7, 8, 9],
    samples: [...grids, 9],
  })
})
