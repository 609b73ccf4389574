import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const compiler = process.env.CXX || 'c++'
const isHere = spawnSync(compiler, ['--version']).status === 0

// queue_failure.cpp says why this is a program in C++.
test.skipIf(!isHere)(
  'a failure in the queue is told by its operation, to every wait until the reset',
  () => {
    const native = join(import.meta.dirname, '../../native')
    const folder = mkdtempSync(join(tmpdir(), 'repa-queue-failure-'))
    try {
      const program = join(folder, 'queue-failure')
      const sources = ['allocator', 'cpu_device', 'process_memory', 'start_thread', 'thread_pool'].map((name) =>
        join(native, 'core', `${name}.cpp`),
      )
      const options = ['-std=c++20', '-O0', '-pthread', '-I', native, '-o', program]
      const built = spawnSync(compiler, [...options, join(import.meta.dirname, 'queue_failure.cpp'), ...sources], {
        encoding: 'utf8',
      })
      expect(built.stderr).toBe('')
      const { status, stdout } = spawnSync(program, { encoding: 'utf8', env: { ...process.env, REPA_THREADS: '2' } })
      const failure = 'attention failed on the CPU device: no scratch'
      expect(stdout.trim().split('\n')).toEqual([
        `1 first wait: ${failure}`,
        `1 second wait: ${failure}`,
        `1 read: ${failure}`,
        '2 after reset: well',
        '2 thrown number: odd failed on the CPU device: an unknown error',
      ])
      expect(status).toBe(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
  120_000,
)
