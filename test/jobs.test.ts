/** A program without types may call the library's jobs with anything: what is wrong is said by the library, and not by Node or V8. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as jobs from '../src/jobs.ts'

/** For which nothing, or no option, is a call: they would work for minutes, or give what they find. */
const TAKE_NOTHING = [
  'benchmarkDecode',
  'benchmarkGpuKernels',
  'benchmarkGpuStep',
  'benchmarkKernels',
  'benchmarkSampling',
  'benchmarkStep',
  'doctor',
]

const VALUES = [undefined, {}, 'x']
const CALLS = [
  ...VALUES.map((value) => [value]),
  ...VALUES.flatMap((first) => VALUES.map((second) => [first, second])),
  ...VALUES.map((third) => ['x', 'x', third]),
  ['x', 'x', { nonsense: 1 }],
]

/** What Node's checks of arguments and V8 say. */
const FOREIGN =
  /argument must be|Cannot (read propert|destructure|convert|use 'in')|is not (a function|iterable|defined|a constructor)|\[object Object\]/

const home = process.cwd()
const folder = mkdtempSync(join(tmpdir(), 'repa-jobs-'))
// In a folder without a file `x`, and where what a call may write goes.
beforeAll(() => process.chdir(folder))
afterAll(() => {
  process.chdir(home)
  rmSync(folder, { recursive: true })
})

test.each(Object.entries(jobs).filter(([name]) => name.startsWith('benchmark')))(
  '%s refuses what no option is, before it measures',
  async (name, job) => {
    const call = job as (options: unknown) => Promise<unknown>
    for (const [options, clause] of [
      ['x', 'the value is "x": expected object'],
      [{ nonsense: 1 }, 'there is no setting "nonsense"'],
      [{ signal: 'x' }, 'signal is "x": expected an AbortSignal'],
    ] as const)
      await expect(call(options)).rejects.toThrow(new RegExp(`^the options of ${name}: .*${clause}`))
  },
)

test('a demo whose folder another has is refused, and leaves that alone', async () => {
  const out = join(folder, 'demo')
  const stopped = new AbortController()
  let second: Promise<unknown> | undefined
  const onPhase = () => {
    const { signal } = stopped
    second ??= jobs.demo({ out, device: 'cpu', signal }).catch((error: Error) => error.message)
    second.finally(() => stopped.abort())
  }
  await expect(jobs.demo({ out, device: 'cpu', onPhase, signal: stopped.signal })).rejects.toThrow('aborted')
  expect(await second).toMatch(/demo is in use by process/)
})

describe.each(Object.entries(jobs).filter(([name]) => !TAKE_NOTHING.includes(name)))('%s', (_, job) => {
  test.each(CALLS)('of %j, %j, %j', async (...given) => {
    const call = job as (...given: unknown[]) => Promise<unknown> | AsyncGenerator
    const made = call(...given)
    const refusal = await ('next' in made ? made.next() : made).catch((error: unknown) => error)
    // What is right so far comes to a file that is not there.
    if (refusal instanceof Error) expect(refusal.message).not.toMatch(FOREIGN)
  })
})
