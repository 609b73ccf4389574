/** Processes that train together on data sets of their own machines, which are to be one. */
import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { together } from '../distributed/together.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const IMAGES = 4

const INFO = {
  format: 'repa-native-dataset-1',
  source: 'images',
  images: IMAGES,
  classCounts: [1, 1, 2],
  skipped: [],
  ignored: { count: 0, names: [] },
  notes: [],
}

async function edited(file: string, change: (json: Record<string, unknown>) => unknown): Promise<void> {
  await writeFile(file, JSON.stringify(change(JSON.parse(await readFile(file, 'utf8')))))
}

const CHANGES: readonly (readonly [what: string, change: (data: string) => Promise<void>])[] = [
  [
    'a label',
    (data) =>
      edited(join(data, 'vae-sd/dataset.json'), ({ labels }) => ({
        labels: (labels as [string, number][]).map(([name, label], i) => [name, i === 1 ? label + 1 : label]),
      })),
  ],
  [
    'the name of an image',
    async (data) => {
      await mkdir(join(data, 'images/00001'))
      await rename(join(data, 'images/00000/img00000001.png'), join(data, 'images/00001/img00000001.png'))
    },
  ],
  [
    "the latents' weights",
    (data) =>
      edited(join(data, 'dataset-info.json'), ({ latents, ...info }) => ({
        ...info,
        latents: { ...(latents as object), weights: 'cd' },
      })),
  ],
  ['cached features', (data) => edited(join(data, 'dataset-info.json'), (info) => ({ ...info, features: [] }))],
]

async function preparedTwice() {
  const data = await tinyDataset(IMAGES)
  const latents = { encoder: 'taesd', weights: 'ab', shape: [8, 8, 8], scale: 1 }
  const features = [{ encoder: 'hog', grid: [2, 2], width: 128 }]
  await writeFile(join(data, 'dataset-info.json'), JSON.stringify({ ...INFO, latents, features }))
  const other = join(temporaryFolder(), 'data')
  await cp(data, other, { recursive: true })
  return [data, other] as const
}

const trained = (sets: readonly [string, string], out: string) =>
  together(2, (world) =>
    train({
      data: sets[world.rank as 0 | 1],
      out,
      world,
      device: 'cpu',
      configuration: {
        model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
        batch: 2,
        steps: 1,
        samples: { count: 1, steps: 1 },
      },
    }),
  )

test.each(CHANGES)('sets that differ in %s are refused in a sentence, before the folder is made', async (_, change) => {
  const [data, other] = await preparedTwice()
  await change(other)
  const out = join(temporaryFolder(), 'run')
  const [leader, follower] = await trained([data, other], out)
  const why =
    /^it has dataDigest "[0-9a-f]{64}" where process 0 has "[0-9a-f]{64}"; start all processes with the same command on the same files\.$/
  expect(follower).toMatchObject({ status: 'rejected', reason: { message: expect.stringMatching(why) } })
  expect(leader).toMatchObject({ status: 'rejected' })
  expect(existsSync(out)).toBe(false)
})

test('copies of one set are one', async () => {
  const ended = await trained(await preparedTwice(), join(temporaryFolder(), 'run'))
  expect(ended.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
})
