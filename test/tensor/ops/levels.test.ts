import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { native } from '../../../src/native.ts'

// A process decides once for which instructions its kernels are, so the tables of cases run again in a process for each of
// the other levels of this machine.
const root = join(import.meta.dirname, '../../..')
const vitest = join(createRequire(import.meta.url).resolve('vitest/package.json'), '..', 'vitest.mjs')
const LEVELS = ['portable', 'avx2', 'avx512'] as const
// File by file: a folder would bring this file along, which would run itself without end.
const TABLES = [
  ...readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith('.test.ts') && name !== basename(import.meta.filename))
    .map((name) => `test/tensor/ops/${name}`),
  'test/tensor/random.test.ts',
  'test/tensor/tape.test.ts',
  'test/training/optimizer.test.ts',
]

const Report = z.object({ numPassedTests: z.number(), numFailedTests: z.number(), success: z.boolean() })

const { level: here, levels } = native().cpuInfo()

describe.each(LEVELS.filter((level) => level !== here))('kernels for %s', (level) => {
  test.skipIf(!levels.includes(level))(
    'pass the same tables',
    () => {
      const options = [
        'run',
        '--project',
        'here*',
        ...TABLES,
        '--exclude',
        '**/levels.test.ts',
        '--no-isolate',
        '--reporter',
        'json',
      ]
      const { status, stdout, stderr } = spawnSync(process.execPath, [vitest, ...options], {
        cwd: root,
        env: { ...process.env, REPA_CPU_LEVEL: level, NO_COLOR: '1' },
        encoding: 'utf8',
        maxBuffer: 1 << 28,
      })
      const begin = stdout.indexOf('{')
      const failures = () => stdout.match(/"failureMessages":\["[^\n]{0,600}/g)?.join('\n') ?? ''
      expect(begin, `vitest said ${stdout}${stderr}`).toBeGreaterThanOrEqual(0)
      const report = Report.parse(JSON.parse(stdout.slice(begin)))
      expect(report, failures()).toMatchObject({ success: true, numFailedTests: 0 })
      expect(report.numPassedTests).toBeGreaterThan(300)
      expect(status).toBe(0)
    },
    600_000,
  )
})
