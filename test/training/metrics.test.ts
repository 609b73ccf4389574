/** The log of a run that is resumed: nothing of the steps that it repeats is there twice, and nothing of the others is lost. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { MetricsLog } from '../../src/training/metrics.ts'
import { readEvents, type TensorBoardEvent } from '../formats/tensorboard-reader.ts'
import { temporaryFolder } from '../temporary-folder.ts'

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

describe('a log that is opened for the steps after the third', () => {
  const line = (step: number) => `{"step":${step}}\n`
  test.each<[what: string, before: string, after: string, strays: number[]]>([
    ['has them cut off', line(1) + line(2) + line(3) + line(4) + line(5), line(1) + line(2) + line(3), []],
    ['loses a line that was not finished', `${line(1)}{"ste`, line(1), []],
    [
      'keeps what is behind a line of others',
      `${line(1)}stray\n${line(2)}{}\n${line(3)}`,
      `${line(1)}stray\n${line(2)}{}\n${line(3)}`,
      [2, 4],
    ],
    ['is not disturbed by an empty line', `${line(1)}\n${line(2)}`, `${line(1)}\n${line(2)}`, []],
    [
      'keeps what is behind a line that was glued to half of one',
      `${line(1)}{"st${line(2)}${line(3)}{"step":4`,
      `${line(1)}{"st${line(2)}${line(3)}`,
      [2],
    ],
  ])('%s', async (_, before, after, strays) => {
    const folder = temporaryFolder()
    const file = join(folder, 'metrics.jsonl')
    writeFileSync(file, before)
    const notices: string[] = []
    const log = await MetricsLog.open(folder, file, 3, (sentence) => notices.push(sentence))
    await log.append({ step: 4 }, [])
    await log.close()
    expect(readFileSync(file, 'utf8')).toBe(after + line(4))
    expect(notices).toEqual(
      strays.map(
        (number) =>
          `${file}:${number} is no line of a run's log and stays there; remove the line, at which repa report stops.`,
      ),
    )
  })
})

test('a log that is a folder is named', async () => {
  const folder = temporaryFolder()
  const file = join(folder, 'metrics.jsonl')
  mkdirSync(file)
  await expect(MetricsLog.open(folder, file, 0)).rejects.toThrow(
    `Cannot read ${file}: it is a folder, and a file is wanted (EISDIR).`,
  )
})

test.skipIf(process.platform !== 'linux')('what cannot be written as a whole leaves no half line', () => {
  const file = join(temporaryFolder(), 'metrics.jsonl')
  const root = join(import.meta.dirname, '../..')
  const words = [
    '--import',
    join(root, 'scripts/run-typescript.mjs'),
    join(import.meta.dirname, 'programs/filling-a-log.ts'),
    file,
  ]
  // In blocks of 512 bytes: the line that comes to their end is written in part, and the rest refused, as where a disk is full. What else
  // the program may write, its own sources as JavaScript, is smaller.
  const BLOCKS = 1024
  const { stdout, stderr } = spawnSync(
    'sh',
    ['-c', `ulimit -f ${BLOCKS}; exec "$0" "$@"`, process.execPath, ...words],
    {
      encoding: 'utf8',
    },
  )
  expect({ stdout, stderr }).toEqual({ stdout: 'EFBIG', stderr: '' })
  const text = readFileSync(file, 'utf8')
  expect(text.length).toBeGreaterThan(512 * BLOCKS - 2000)
  expect(text.at(-1)).toBe('\n')
  const steps = text
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as { step: number }).step)
  expect(steps).toEqual(steps.map((_, i) => i + 1))
})

test.each<[string, (file: string) => Promise<unknown>]>([
  ['removed', (file) => rm(file)],
  [
    'replaced',
    async (file) => {
      writeFileSync(`${file}.new`, readFileSync(file))
      await rename(`${file}.new`, file)
    },
  ],
])('a log that was %s says so', async (_, change) => {
  const folder = temporaryFolder()
  const file = join(folder, 'metrics.jsonl')
  const log = await MetricsLog.open(folder, file, 0)
  await log.append({ step: 1 }, [])
  await log.requireInPlace()
  await change(file)
  await expect(log.requireInPlace()).rejects.toThrow(`${file} was removed or replaced while the run wrote it`)
  await log.close()
})
