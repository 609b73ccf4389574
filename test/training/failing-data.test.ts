/** Data that cannot be read any more, in the middle of a run: what was made is not lost. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { Loader } from '../../src/data/loader.ts'
import { pretrainEncoder } from '../../src/pretraining/run.ts'
import { train } from '../../src/training/run.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { stripedDataset } from '../pretraining/striped-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const BATCH = 4
const STEPS = 8
const BROKEN_STEP = 5

interface Call {
  readonly data: string
  readonly out: string
  readonly resume?: boolean
  readonly onNotice?: (sentence: string) => void
  readonly onStart?: () => void
  readonly onStep?: () => void
}

const CASES: readonly (readonly [command: string, run: (call: Call) => Promise<unknown>])[] = [
  [
    'train',
    (call) =>
      train({
        ...call,
        device: 'cpu',
        configuration: { model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 }, batch: BATCH, steps: STEPS },
      }),
  ],
  [
    'pretrain-encoder',
    (call) =>
      pretrainEncoder({
        ...call,
        device: 'cpu',
        configuration: { hidden: 24, depth: 1, heads: 3, batch: BATCH, steps: STEPS },
      }),
  ],
]

const stepsOf = (out: string) =>
  readFileSync(join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { step: number }).step)

test.each(CASES)('%s saves the steps before the failure, and goes on from there to the bit', async (_, run) => {
  const data = stripedDataset({ count: BATCH * STEPS })
  const unbroken = temporaryFolder()
  await run({ data, out: unbroken })

  // The first image of a later step, by the order that the loader has.
  const loader = new Loader(await Dataset.open(data), { batch: BATCH, seed: 0, images: true })
  const index = loader.indicesOf(BROKEN_STEP)[0]!
  const image = join(data, 'images', `00000/img${String(index).padStart(8, '0')}.png`)
  const bytes = readFileSync(image)
  const out = temporaryFolder()
  const notices: string[] = []
  const onNotice = (sentence: string) => void notices.push(sentence)
  const onStart = () => writeFileSync(image, 'torn')
  await expect(run({ data, out, onStart, onNotice })).rejects.toThrow(image)
  const checkpoint = join(out, 'checkpoints', `${BROKEN_STEP}`.padStart(7, '0'))
  expect(notices).toEqual([`The steps until the failure are saved, ${checkpoint}; \`resume\` goes on from there.`])
  expect(stepsOf(out)).toEqual([1, 2, 3, 4, 5])

  writeFileSync(image, bytes)
  await run({ data, out, resume: true })
  expect(stepsOf(out)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  const last = join('checkpoints', `${STEPS}`.padStart(7, '0'))
  expect(folderDigest(join(out, last))).toEqual(folderDigest(join(unbroken, last)))
})

test('what a callback throws costs no step either', async () => {
  const data = stripedDataset({ count: BATCH * STEPS })
  const out = temporaryFolder()
  const notices: string[] = []
  const [, run] = CASES[0]!
  const onStep = () => {
    throw new Error('The program that looks on has failed.')
  }
  await expect(run({ data, out, onStep, onNotice: (sentence) => void notices.push(sentence) })).rejects.toThrow(
    'The program that looks on has failed.',
  )
  expect(notices).toEqual([expect.stringMatching(/^The steps until the failure are saved, /)])
})
