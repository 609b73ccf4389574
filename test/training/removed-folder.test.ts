/** A run whose folder, or its log, somebody removes while it goes on: it does not end as if nothing had been. */
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { pretrainEncoder } from '../../src/pretraining/run.ts'
import { train } from '../../src/training/run.ts'
import { checkpointName } from '../../src/training/run-layout.ts'
import { together } from '../distributed/together.ts'
import { stripedDataset } from '../pretraining/striped-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const COMMON = { batch: 4, steps: 6, checkpointEvery: 3 }
const MODEL = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const

interface Call {
  readonly data: string
  readonly out: string
  readonly onStep: (step: { readonly index: number }) => void
  readonly onNotice: (sentence: string) => void
}

type Run = (call: Call) => Promise<unknown>
const training =
  (settings: object): Run =>
  (call) =>
    train({ ...call, device: 'cpu', configuration: { ...COMMON, model: MODEL, ...settings } })
const RUNS: readonly (readonly [what: string, run: Run])[] = [
  ['a training', training({})],
  ['a training, at its next grid', training({ checkpointEvery: 6, sampleEvery: 3, samples: { count: 1, steps: 1 } })],
  [
    'a pretraining',
    (call) => pretrainEncoder({ ...call, device: 'cpu', configuration: { ...COMMON, hidden: 24, depth: 1, heads: 3 } }),
  ],
]

const CHANGES: readonly (readonly [what: string, change: (out: string, log: string) => void])[] = [
  ['the folder is removed', (out) => rmSync(out, { recursive: true })],
  [
    'an editor replaces the log',
    (_, log) => {
      copyFileSync(log, `${log}.new`)
      renameSync(`${log}.new`, log)
    },
  ],
]

test.each(CHANGES.flatMap(([what, change]) => RUNS.map(([which, run]) => ({ what, change, which, run }))))(
  'where $what, $which saves, and says so',
  async ({ change, run }) => {
    const [out, data] = [join(temporaryFolder(), 'run'), stripedDataset()]
    const log = join(out, 'metrics.jsonl')
    const onStep = ({ index }: { readonly index: number }) => void (index === 1 && change(out, log))
    const said: string[] = []
    const failure: unknown = await run({ data, out, onStep, onNotice: (sentence) => said.push(sentence) }).catch(
      (error: unknown) => error,
    )
    expect(String(failure)).toContain(`${log} was removed or replaced while the run wrote it`)
    const checkpoint = join(out, 'checkpoints/0000003')
    expect(existsSync(join(checkpoint, 'state.json'))).toBe(true)
    // By the error, or, where it was saved for it, by a notice.
    expect([...said, String(failure)].filter((sentence) => sentence.includes(`are saved, ${checkpoint}`))).toHaveLength(
      1,
    )
  },
)

test('and one that was asked to stop says so too, instead of how to go on', async () => {
  const [out, data] = [join(temporaryFolder(), 'run'), stripedDataset()]
  const stop = new AbortController()
  let steps = 0
  const onStep = ({ index }: { readonly index: number }) => {
    steps = index
    rmSync(out, { recursive: true, force: true })
    stop.abort()
  }
  const configuration = { ...COMMON, model: MODEL }
  const failure: unknown = await train({ data, out, device: 'cpu', configuration, onStep, signal: stop.signal }).catch(
    (error: unknown) => error,
  )
  expect(String(failure)).toContain('was removed or replaced while the run wrote it')
  expect(String(failure)).toContain(
    `The steps themselves are saved, ${join(out, 'checkpoints', checkpointName(steps))}.`,
  )
})

test('of two processes both hear of it, and none ends before the checkpoint is there', async () => {
  const [out, data] = [join(temporaryFolder(), 'run'), stripedDataset()]
  const ended = await together(2, (world) =>
    train({
      data,
      out,
      world,
      device: 'cpu',
      configuration: { ...COMMON, model: MODEL },
      onStep: ({ index }) => world.rank === 0 && index === 1 && rmSync(out, { recursive: true }),
    }),
  )
  const words = expect.stringContaining('metrics.jsonl was removed or replaced while the run wrote it')
  expect(ended).toEqual(ended.map(() => ({ status: 'rejected', reason: expect.objectContaining({ message: words }) })))
  expect(existsSync(join(out, 'checkpoints/0000003/state.json'))).toBe(true)
})
