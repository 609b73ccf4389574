import { appendFile, mkdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MetricsFollower } from '../../../src/report/watch/metrics-follower.ts'
import { metricsLine, RunFolders } from '../run-folder.ts'

const lines = (from: number, to: number, loss?: number) =>
  Array.from(
    { length: to - from + 1 },
    (_, i) => `${JSON.stringify(metricsLine(from + i, loss === undefined ? {} : { loss }))}\n`,
  ).join('')

/** A write to the log, what a look at it then finds new, and the steps that are known. */
type Look = [write: (file: string) => Promise<void>, from: number | undefined, steps: number[]]

const put = (text: string) => (file: string) => writeFile(file, text)
const add = (text: string) => (file: string) => appendFile(file, text)
const nothing = async () => {}

const cases: [string, Look[]][] = [
  ['no log yet', [[nothing, undefined, []]]],
  [
    'a log that grows',
    [
      [put(lines(1, 2)), 1, [1, 2]],
      [nothing, undefined, [1, 2]],
      [add(lines(3, 4)), 3, [1, 2, 3, 4]],
    ],
  ],
  [
    'a last line that comes in two parts',
    [
      [put(lines(1, 2).slice(0, -30)), 1, [1]],
      [nothing, undefined, [1]],
      [add(lines(1, 2).slice(-30)), 2, [1, 2]],
    ],
  ],
  [
    'a resumed run that cut off its last steps',
    [
      [put(lines(1, 5)), 1, [1, 2, 3, 4, 5]],
      [(file) => truncate(file, lines(1, 3).length), 4, [1, 2, 3]],
      [add(lines(4, 6, 9)), 4, [1, 2, 3, 4, 5, 6]],
    ],
  ],
  [
    'cut and written on beyond its old length between two looks',
    [
      [put(lines(1, 5)), 1, [1, 2, 3, 4, 5]],
      [put(lines(1, 3) + lines(4, 8, 9.123456)), 4, [1, 2, 3, 4, 5, 6, 7, 8]],
    ],
  ],
  [
    'another run in its place',
    [
      [put(lines(1, 3)), 1, [1, 2, 3]],
      [
        async (file) => {
          await writeFile(`${file}.new`, lines(1, 2, 7))
          await rename(`${file}.new`, file)
        },
        1,
        [1, 2],
      ],
    ],
  ],
  [
    'another run in its place whose last line is the same',
    [
      [put(lines(1, 1, 7) + lines(2, 2)), 1, [1, 2]],
      [
        async (file) => {
          await writeFile(`${file}.new`, lines(1, 1, 8) + lines(2, 2))
          await rename(`${file}.new`, file)
        },
        1,
        [1, 2],
      ],
    ],
  ],
  [
    'removed, and begun again',
    [
      [put(lines(1, 3)), 1, [1, 2, 3]],
      [(file) => rm(file), 1, []],
      [put(lines(1, 1)), 1, [1]],
    ],
  ],
  [
    'steps made again behind the first ones',
    [
      [put(lines(1, 4)), 1, [1, 2, 3, 4]],
      [add(lines(3, 3, 9)), 3, [1, 2, 3, 4]],
    ],
  ],
  ['blank lines', [[put(`\n${lines(1, 1)}\n\n${lines(2, 2)}`), 1, [1, 2]]]],
  ['more than is read at once', [[put(lines(1, 12_000)), 1, Array.from({ length: 12_000 }, (_, i) => i + 1)]]],
]

test.each(cases)('%s', async (_, looks) => {
  await using folders = await RunFolders.create()
  const file = join(folders.root, 'metrics.jsonl')
  const follower = new MetricsFollower(file)
  for (const [write, from, steps] of looks) {
    await write(file)
    expect(await follower.poll()).toEqual({ from, problem: undefined })
    expect([...follower.metrics.step]).toEqual(steps)
  }
})

test('a line that is none is named, what stands before it is shown, and put right it is read', async () => {
  await using folders = await RunFolders.create()
  const file = join(folders.root, 'metrics.jsonl')
  const follower = new MetricsFollower(file)
  await writeFile(file, `${lines(1, 2)}hello\n`)
  const problem = expect.stringMatching(/metrics\.jsonl:3: expected a JSON object, got 'hello'/)
  expect(await follower.poll()).toEqual({ from: 1, problem })
  expect(await follower.poll()).toEqual({ from: undefined, problem })
  await writeFile(file, lines(1, 3))
  expect(await follower.poll()).toEqual({ from: 3, problem: undefined })
})

test('a log that is a folder is named in a sentence, and put right it is read', async () => {
  await using folders = await RunFolders.create()
  const file = join(folders.root, 'metrics.jsonl')
  const follower = new MetricsFollower(file)
  await mkdir(file)
  const problem = `Cannot read ${file}: it is a folder, and a file is wanted (EISDIR).`
  expect(await follower.poll()).toEqual({ from: undefined, problem })
  await rm(file, { recursive: true })
  await writeFile(file, lines(1, 2))
  expect(await follower.poll()).toEqual({ from: 1, problem: undefined })
})
