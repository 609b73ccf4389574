import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const scratch = mkdtempSync(join(tmpdir(), 'repa-sanitizers-'))

afterAll(() => rmSync(scratch, { recursive: true, force: true }))

interface Configuration {
  readonly name: string
  /** Of build/. */
  readonly addon: string
  readonly runtime?: 'asan' | 'tsan'
}

const CONFIGURATIONS: readonly Configuration[] = [
  { name: 'plain', addon: 'simt' },
  { name: 'AddressSanitizer', addon: 'simt-asan', runtime: 'asan' },
  { name: 'ThreadSanitizer', addon: 'simt-tsan', runtime: 'tsan' },
]

/** A sanitised addon loads into a process that its runtime was in from the beginning: the one that it is linked with. */
function preload(addon: string, runtime: 'asan' | 'tsan'): string {
  const { stdout } = spawnSync('ldd', [join(root, 'build', addon, 'build/Release/repa_native.node')], {
    encoding: 'utf8',
  })
  const path = new RegExp(`lib${runtime}\\.so\\S* => (\\S+)`).exec(stdout)?.[1]
  if (path === undefined) throw new Error(`${addon} is not linked with lib${runtime}: ${stdout}`)
  return path
}

function everyKernel(
  { addon, runtime }: Configuration,
  words: readonly string[],
  env: Readonly<Record<string, string>>,
) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'test/native/programs/every-kernel.mjs'), ...words],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      env: {
        ...process.env,
        ...env,
        REPA_NATIVE_PREBUILD: join(root, 'build', addon),
        ...(runtime && { LD_PRELOAD: preload(addon, runtime) }),
        // Node keeps memory to its end, and is not instrumented itself.
        ASAN_OPTIONS: 'detect_leaks=0',
        TSAN_OPTIONS: 'ignore_noninstrumented_modules=1 exitcode=66',
      },
    },
  )
  return { status, text: stdout + stderr }
}

/**
 * By architecture: what runs, and what it says last. Kernels for one architecture alone are Hopper's, and those that it has better ones for;
 * the largest of these ask for as much shared memory as there is on 10.0.
 */
const RUNS = [
  ['90', [], 'the rest'],
  ['100', ['tensor-cores'], 'gemm in f16'],
] as const

describe.each(CONFIGURATIONS)('every kernel, $name', (configuration) => {
  test('runs on 9.0 or on 10.0, and nothing is found', () => {
    const lines = RUNS.flatMap(([architecture, words, last]) => {
      const REPA_SIMT_KERNELS = join(scratch, `${configuration.addon}-${architecture}`)
      const { status, text } = everyKernel(configuration, words, { REPA_SIMT_KERNELS, REPA_SIMT_ARCH: architecture })
      expect({ status, end: text.trim().split('\n').at(-1) }, text).toEqual({ status: 0, end: last })
      return readFileSync(REPA_SIMT_KERNELS, 'utf8').split('\n')
    })
    const said = (verb: string) => new Set(lines.filter((line) => line.startsWith(verb)).map((line) => line.slice(4)))
    const has = said('has ')
    expect(has.size).toBeGreaterThan(300)
    const ran = said('ran ')
    expect([...has].filter((kernel) => !ran.has(kernel))).toEqual([])
  }, 900_000)
})

describe('an exchange beside the device, under ThreadSanitizer', () => {
  const configuration = CONFIGURATIONS.find(({ name }) => name === 'ThreadSanitizer')!
  const env = { REPA_NCCL: join(root, 'build', configuration.addon, 'libnccl_fake.so') }

  test('is seen to be read before it is waited for', () => {
    const { status, text } = everyKernel(configuration, ['beside'], env)
    expect(status, text).not.toBe(0)
    expect(text).toMatch(/ThreadSanitizer: data race/)
    expect(text).toMatch(/elementwise\.cu:\d+/)
    expect(text).toMatch(/fake_nccl\.cpp:\d+/)
  })

  test('that is waited for is read in order', () => {
    const { status, text } = everyKernel(configuration, ['awaited'], env)
    expect({ status, text }).toEqual({ status: 0, text: '' })
  })
})

test('what nobody has written is seen in what was made of it', () => {
  const configuration = CONFIGURATIONS.find(({ name }) => name === 'AddressSanitizer')!
  const { status, text } = everyKernel(configuration, ['unwritten'], {})
  expect(status, text).not.toBe(0)
  expect(text).toContain('Elements are NaN, of memory that nobody wrote. scale: 32 of [64]')
})

describe('what a caller does wrong is found in the kernel that it happens in', () => {
  test.each([
    ['AddressSanitizer', 'freed', /AddressSanitizer: heap-use-after-free/],
    ['ThreadSanitizer', 'overlap', /ThreadSanitizer: data race/],
  ] as const)('%s: %s', (name, planted, report) => {
    const configuration = CONFIGURATIONS.find((each) => each.name === name)!
    const { status, text } = everyKernel(configuration, [planted], {})
    expect(status, text).not.toBe(0)
    expect(text).toMatch(report)
    expect(text).toMatch(/elementwise\.cu:\d+/)
  })
})
