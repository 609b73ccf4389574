import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { pretrainEncoder } from '../../src/pretraining/run.ts'
import { train } from '../../src/training/run.ts'
import { IN_USE_FILE, RunInUse } from '../../src/training/run-in-use.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { stripedDataset } from '../pretraining/striped-dataset.ts'

test('a folder is given back, and taken by the next', async () => {
  const folder = temporaryFolder()
  const file = join(folder, IN_USE_FILE)
  for (let i = 0; i < 2; i++) {
    await using _ = await RunInUse.take(folder)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ host: hostname(), pid: process.pid })
    await expect(RunInUse.take(folder)).rejects.toThrow(
      `${folder} is another run's, by process ${process.pid}, which goes on`,
    )
  }
  expect(existsSync(file)).toBe(false)
})

describe('a folder is taken over', () => {
  const CASES: readonly (readonly [what: string, left: (own: Record<string, unknown>) => unknown])[] = [
    ['of a process that was killed', async (own) => ({ ...own, pid: await deadProcess() })],
    ['of an earlier process of this number', (own) => ({ ...own, began: '1' })],
    ['of a process of another machine', (own) => ({ ...own, host: `not-${hostname()}` })],
    ['with a torn file', () => undefined],
  ]
  test.each(CASES)('%s', async (_, left) => {
    const folder = temporaryFolder()
    const file = join(folder, IN_USE_FILE)
    const first = await RunInUse.take(folder)
    const own = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    await first[Symbol.asyncDispose]()
    writeFileSync(file, JSON.stringify(await left(own)) ?? '{"host":')
    await using _second = await RunInUse.take(folder)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(own)
  })
})

async function deadProcess(): Promise<number> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await once(child, 'exit')
  return child.pid!
}

interface Call {
  readonly data: string
  readonly out: string
  readonly resume: boolean
}

const COMMON = { batch: 4, steps: 2 }
const MODEL = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const
const COMMANDS: readonly (readonly [command: string, run: (call: Call) => Promise<unknown>])[] = [
  ['train', (call) => train({ ...call, device: 'cpu', configuration: { ...COMMON, model: MODEL } })],
  [
    'pretrain-encoder',
    (call) => pretrainEncoder({ ...call, device: 'cpu', configuration: { ...COMMON, hidden: 24, depth: 1, heads: 3 } }),
  ],
]

test.each(COMMANDS)('%s begins and resumes no run in a folder that is in use, and gives it back', async (_, run) => {
  const data = stripedDataset()
  const out = temporaryFolder()
  for (const resume of [false, true]) {
    const inUse = await RunInUse.take(out)
    await expect(run({ data, out, resume })).rejects.toThrow(`${out} is another run's, by process ${process.pid}`)
    await inUse[Symbol.asyncDispose]()
    await run({ data, out, resume })
    expect(existsSync(join(out, IN_USE_FILE))).toBe(false)
  }
})
