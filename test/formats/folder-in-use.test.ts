import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { link } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FolderInUse, IN_USE_FILE } from '../../src/formats/folder-in-use.ts'
import { pretrainEncoder } from '../../src/pretraining/run.ts'
import { train } from '../../src/training/run.ts'
import { stripedDataset } from '../pretraining/striped-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import type { Answer, Request } from './programs/taking-a-folder.ts'

test('a folder is given back, and taken by the next', async () => {
  const folder = temporaryFolder()
  const file = join(folder, IN_USE_FILE)
  for (let i = 0; i < 2; i++) {
    await using _ = await FolderInUse.take(folder)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ host: hostname(), pid: process.pid })
    await expect(FolderInUse.take(folder)).rejects.toThrow(
      `${folder} is in use by process ${process.pid}, which goes on`,
    )
  }
  expect(existsSync(file)).toBe(false)
})

test('a folder that somebody else has by now stays theirs', async () => {
  const file = join(temporaryFolder(), IN_USE_FILE)
  const theirs = '{"host":"another","pid":1,"began":"1"}\n'
  {
    await using _ = await FolderInUse.take(dirname(file))
    // As where the folder was removed under a run, and another begun under its name.
    writeFileSync(file, theirs)
  }
  expect(readFileSync(file, 'utf8')).toBe(theirs)
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
    const first = await FolderInUse.take(folder)
    const own = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    await first[Symbol.asyncDispose]()
    writeFileSync(file, JSON.stringify(await left(own)) ?? '{"host":')
    await using _second = await FolderInUse.take(folder)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(own)
    expect(readdirSync(folder)).toEqual([IN_USE_FILE])
  })
})

test("a folder is taken though a training's beginning tidies up what the taking has left half written", async () => {
  const folder = temporaryFolder()
  let links = 0
  const makeLink = async (draft: string, file: string) => {
    if (links++ === 0) rmSync(draft)
    await link(draft, file)
  }
  await using _ = await FolderInUse.take(folder, { makeLink })
  expect({ links, names: readdirSync(folder) }).toEqual({ links: 2, names: [IN_USE_FILE] })
})

test('a folder is not taken over while another process is at writing its file', async () => {
  const folder = temporaryFolder()
  const file = join(folder, IN_USE_FILE)
  const first = await FolderInUse.take(folder)
  const whole = readFileSync(file, 'utf8')
  await first[Symbol.asyncDispose]()
  writeFileSync(file, whole.slice(0, 9))
  const second = FolderInUse.take(folder)
  second.catch(() => {})
  await pause(100)
  writeFileSync(file, whole)
  await expect(second).rejects.toThrow(`${folder} is in use by process ${process.pid}, which goes on`)
  expect(readdirSync(folder)).toEqual([IN_USE_FILE])
})

describe('of processes that take a folder at one instant, one gets it', () => {
  const PROCESSES = 3
  const ROUNDS = 12
  /** For all of them to have heard of it. */
  const NOTICE_MS = 30
  let children: readonly ChildProcess[] = []

  beforeAll(async () => {
    const program = join(import.meta.dirname, 'programs/taking-a-folder.ts')
    const execArgv = ['--import', join(import.meta.dirname, '../../scripts/run-typescript.mjs')]
    children = Array.from({ length: PROCESSES }, () => fork(program, [], { execArgv }))
    await Promise.all(children.map((child) => once(child, 'message')))
  })
  afterAll(() => {
    for (const child of children) child.kill()
  })

  const ask = (request: Request): Promise<Answer[]> =>
    Promise.all(
      children.map(async (child) => {
        const answered = once(child, 'message')
        child.send(request)
        const [answer] = (await answered) as [Answer]
        return answer
      }),
    )

  const SUCCESSOR_FILE = `${IN_USE_FILE}.successor`
  const LEFT: readonly (readonly [of: string, files: readonly string[]])[] = [
    ['that nobody has', []],
    ['of a process that was killed', [IN_USE_FILE]],
    ['of a killed process, and the one that took its place was killed too', [IN_USE_FILE, SUCCESSOR_FILE]],
  ]
  test.each(
    LEFT.flatMap(([of, files]) => [[of, files, true] as const, [`${of}, without hard links`, files, false] as const]),
  )('%s', async (_, files, hasLinks) => {
    const left = JSON.stringify({ host: hostname(), pid: await deadProcess(), began: '1' })
    for (let round = 0; round < ROUNDS; round++) {
      const folder = temporaryFolder()
      for (const name of files) writeFileSync(join(folder, name), left)
      const answers = await ask({ take: folder, at: Date.now() + NOTICE_MS, hasLinks })
      const { pid } = JSON.parse(readFileSync(join(folder, IN_USE_FILE), 'utf8')) as { pid: number }
      const refused = `${folder} is in use by process ${pid}, which goes on; wait for its end, or choose another folder.`
      expect(answers).toEqual(children.map((child) => (child.pid === pid ? {} : { refused })))
      expect(readdirSync(folder)).toEqual([IN_USE_FILE])
      await ask({ give: true })
      expect(readdirSync(folder)).toEqual([])
    }
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
    const inUse = await FolderInUse.take(out)
    await expect(run({ data, out, resume })).rejects.toThrow(`${out} is in use by process ${process.pid}`)
    await inUse[Symbol.asyncDispose]()
    await run({ data, out, resume })
    expect(existsSync(join(out, IN_USE_FILE))).toBe(false)
  }
})
