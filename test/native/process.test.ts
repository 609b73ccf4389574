import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { runProgram } from './run-program.ts'

describe('workers', () => {
  test.each(['normally', 'terminate'])('that end %s with work queued leave the process whole', (how) => {
    const { status, stdout, stderr } = runProgram('workers', { args: [how] })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'all ended\n', stderr: '' })
  })
})

describe('the process', () => {
  test.each(['awaited', 'unawaited'])('ends by itself when its work is done: %s', (how) => {
    const { status, signal, stdout } = runProgram('quiet-end', { args: [how] })
    expect({ status, signal, stdout }).toEqual({ status: 0, signal: null, stdout: how === 'awaited' ? '262144\n' : '' })
  })

  test('ends at process.exit() with a full queue, by its own code', () => {
    expect(runProgram('exit-early')).toMatchObject({ status: 7, signal: null, stderr: '' })
  })
})

describe.skipIf(process.platform !== 'linux' || spawnSync('prlimit', ['--version']).status !== 0)(
  'a process without memory',
  () => {
    test('is told so by what needs some, and goes on', () => {
      const { stdout, stderr } = runProgram('host-memory')
      expect(stderr).toBe('')
      const lines = stdout.trim().split('\n')
      expect(lines[0]).toBe('ERR_OUT_OF_MEMORY write: the process has no memory left for what the call needs.')
      expect(lines[1]).toMatch(
        /^ERR_OUT_OF_MEMORY empty: out of memory: 512 MiB asked for, 512 MiB in use, limit \d+ MiB, but the system gives no more, for others may hold it\. Use a smaller batch or model\.$/,
      )
      expect(lines.slice(2)).toEqual(['5'])
    })

    test('or no threads', () => {
      // A thread's stack takes address space: of so many there is none for all.
      const path = join(import.meta.dirname, 'programs/digest.mjs')
      const limits = [`--as=${4 * 2 ** 30}`, `--stack=${8 * 2 ** 20}`]
      const { status, stderr } = spawnSync('prlimit', [...limits, process.execPath, path], {
        env: { ...process.env, REPA_THREADS: '1024' },
        encoding: 'utf8',
      })
      expect(status).toBe(1)
      expect(stderr).toMatch(
        /Error: The system gives this process no more threads: \d+ of the 1023 that were to compute beside this one could be started; set REPA_THREADS lower\. What limits them is ulimit -u, ulimit -v or a container's pids\.max\.\n/,
      )
      expect(stderr).toContain("code: 'ERR_DEVICE'")
    })
  },
)

const Digest = z.object({ threads: z.number(), digest: z.string() })

describe('REPA_THREADS', () => {
  test('1, 2, 3 and 5 threads give the same bits', () => {
    const digests = [1, 2, 3, 5].map((threads) => {
      const { stdout } = runProgram('digest', { env: { REPA_THREADS: String(threads) } })
      const { threads: used, digest } = Digest.parse(JSON.parse(stdout))
      expect(used).toBe(threads)
      return digest
    })
    expect(new Set(digests).size).toBe(1)
  })

  test.each(['0', '-1', '1.5', 'many', '1025'])('%s is refused in a sentence', (threads) => {
    const { status, stderr } = runProgram('digest', { env: { REPA_THREADS: threads } })
    expect(status).toBe(1)
    expect(stderr).toContain(`REPA_THREADS is "${threads}"; expected a whole number from 1 to 1024.`)
    expect(stderr).toContain("code: 'ERR_INVALID_ARGUMENT'")
  })
})

describe('REPA_CPU_LEVEL', () => {
  test('a level that does not exist is refused in a sentence', () => {
    const { status, stderr } = runProgram('digest', { env: { REPA_CPU_LEVEL: 'sse9' } })
    expect(status).toBe(1)
    expect(stderr).toContain("REPA_CPU_LEVEL must be portable, avx2 or avx512, but is 'sse9'.")
    expect(stderr).toContain("code: 'ERR_INVALID_ARGUMENT'")
  })

  test('an empty one is none', () => {
    const { stdout } = runProgram('digest')
    expect(runProgram('digest', { env: { REPA_CPU_LEVEL: '' } }).stdout).toBe(stdout)
  })
})

describe('tensors that nobody disposes', () => {
  test('are freed by the collector', () => {
    const { stdout } = runProgram('garbage', { flags: ['--expose-gc'] })
    const { before, after } = z.object({ before: z.number(), after: z.number() }).parse(JSON.parse(stdout))
    expect(before).toBeGreaterThanOrEqual(63 * (4 << 20))
    expect(after).toBeLessThanOrEqual(4 << 20)
  })

  test('make it run by their weight', () => {
    const { stdout } = runProgram('pressure')
    const { made, peak } = z.object({ made: z.number(), peak: z.number() }).parse(JSON.parse(stdout))
    expect(peak).toBeLessThan(made / 4)
  })

  test('do not make it run at every step of those that are disposed', () => {
    const { stdout } = runProgram('working-set')
    const { after } = z.object({ first: z.number(), after: z.number() }).parse(JSON.parse(stdout))
    expect(after).toBeLessThan(4)
  })
})
