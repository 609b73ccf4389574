/** Checkpoints that are only there to resume from: there is the newest of them, and the run is none other. */
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import * as checkpointFiles from '../../src/training/checkpoint-files.ts'
import { type TrainResult, train } from '../../src/training/run.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

vi.mock('../../src/training/checkpoint-files.ts', { spy: true })

interface Call {
  readonly resumeEvery?: number
  readonly resume?: boolean
  readonly steps?: number
  /** The step after which it is stopped; 0: before any. */
  readonly stopAfter?: number
}

/** A run of ten steps with a checkpoint at 6, which calls begin and resume. */
async function tinyRun() {
  const [out, data] = [join(temporaryFolder(), 'run'), await tinyDataset(4)]
  const notices: string[] = []
  const checkpoints = async () => (await readdir(join(out, 'checkpoints')).catch((): string[] => [])).sort()
  const run = async ({ resumeEvery, resume = false, steps = 10, stopAfter }: Call): Promise<TrainResult> => {
    const stop = new AbortController()
    return train({
      out,
      data,
      resume,
      device: 'cpu',
      configuration: {
        model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
        batch: 2,
        steps,
        checkpointEvery: 6,
        sampleEvery: 1000,
        samples: { count: 1, steps: 1, guidanceScale: 1 },
        ...(resumeEvery !== undefined && { resumeEvery }),
      },
      signal: stop.signal,
      onStart: () => stopAfter === 0 && stop.abort(),
      onStep: ({ index }) => index + 1 === stopAfter && stop.abort(),
      onNotice: (sentence) => notices.push(sentence),
    })
  }
  return { out, run, checkpoints, notices }
}

const stateOf = async (out: string, name: string) =>
  JSON.parse(await readFile(join(out, 'checkpoints', name, 'state.json'), 'utf8'))

const weightsOf = (out: string, name: string) => {
  const { 'state.json': _, ...files } = folderDigest(join(out, 'checkpoints', name))
  return files
}

test('a run that is not stopped leaves what it leaves without them', async () => {
  const [plain, saving] = [await tinyRun(), await tinyRun()]
  await plain.run({})
  const seen = new Set<string>()
  const { removeCheckpoint } = checkpointFiles
  vi.mocked(removeCheckpoint).mockImplementation(async (path) => {
    // The later one is whole by then.
    const names = await saving.checkpoints()
    expect(names.at(-1)! > path.slice(-7)).toBe(true)
    seen.add(path.slice(-7))
    await rename(path, `${path}.partial-1`)
  })
  onTestFinished(() => void vi.mocked(removeCheckpoint).mockReset())
  await saving.run({ resumeEvery: 2 })
  expect([...seen]).toEqual(['0000002', '0000004', '0000008'])
  const names = ['0000006', '0000010']
  expect(await plain.checkpoints()).toEqual(names)
  expect((await saving.checkpoints()).filter((name) => !name.includes('partial'))).toEqual(names)
  for (const name of names) {
    expect(weightsOf(saving.out, name)).toEqual(weightsOf(plain.out, name))
    expect(await stateOf(saving.out, name)).not.toHaveProperty('resumeOnly')
  }
})

test('a stopped run goes on from the newest, which the next takes the place of', async () => {
  const [plain, { out, run, checkpoints, notices }] = [await tinyRun(), await tinyRun()]
  await plain.run({})
  const stopped = await run({ resumeEvery: 2, stopAfter: 5 })
  expect(stopped.interrupted).toBe(true)
  const [only, ...others] = await checkpoints()
  expect(others).toEqual([])
  expect(await stateOf(out, only!)).toMatchObject({ step: stopped.step, resumeOnly: true })
  expect(stopped.checkpoint).toBe(join(out, 'checkpoints', only!))
  await run({ resume: true, resumeEvery: 3 })
  expect(await checkpoints()).toEqual(['0000006', '0000010'])
  expect(weightsOf(out, '0000010')).toEqual(weightsOf(plain.out, '0000010'))
  expect(notices.filter((sentence) => sentence.includes('resume from'))).toEqual([])
})

test('a run that is stopped before it goes on leaves what it would have gone on from', async () => {
  const { run } = await tinyRun()
  const stopped = await run({ resumeEvery: 2, stopAfter: 3 })
  const { ino, mtimeMs } = await stat(stopped.checkpoint)
  expect(await run({ resume: true, stopAfter: 0 })).toMatchObject({
    step: stopped.step,
    checkpoint: stopped.checkpoint,
  })
  expect(await stat(stopped.checkpoint)).toMatchObject({ ino, mtimeMs })
})

test('without them a checkpoint where the run was stopped stays, and those of others do', async () => {
  const { out, run, checkpoints } = await tinyRun()
  const stopped = await run({ stopAfter: 3 })
  const name = stopped.checkpoint.slice(-7)
  await run({ resume: true, resumeEvery: 4 })
  expect(await checkpoints()).toEqual([name, '0000006', '0000010'].sort())
  // What is no checkpoint any more, or was never one, is nobody's to remove.
  await writeFile(join(out, 'checkpoints', '0000006', 'state.json'), 'torn')
  await mkdir(join(out, 'checkpoints', '0000007'))
  await run({ resume: true, steps: 12 })
  expect(await checkpoints()).toEqual([name, '0000006', '0000007', '0000010', '0000012'].sort())
})

test('one that cannot be removed is said, and the run goes on', async () => {
  const { run, checkpoints, notices } = await tinyRun()
  vi.mocked(checkpointFiles.removeCheckpoint).mockRejectedValueOnce(new Error('EACCES: permission denied'))
  onTestFinished(() => void vi.mocked(checkpointFiles.removeCheckpoint).mockReset())
  expect((await run({ resumeEvery: 4 })).step).toBe(10)
  expect(notices).toContain(
    'A checkpoint that was there to resume from could not be removed: EACCES: permission denied',
  )
  // It goes with the next.
  expect(await checkpoints()).toEqual(['0000006', '0000010'])
})

test('the last is saved to stay, also where the run was stopped at it before', async () => {
  const { out, run, checkpoints } = await tinyRun()
  const stopped = await run({ resumeEvery: 2, stopAfter: 3 })
  expect((await run({ resume: true, steps: stopped.step })).step).toBe(stopped.step)
  expect(await stateOf(out, stopped.checkpoint.slice(-7))).not.toHaveProperty('resumeOnly')
  await run({ resume: true })
  expect(await checkpoints()).toEqual([stopped.checkpoint.slice(-7), '0000006', '0000010'].sort())
})
