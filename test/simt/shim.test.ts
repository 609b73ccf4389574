import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'

/** What CMake has built of native/simt. */
const programs = join(import.meta.dirname, '../../build/cmake/native/simt')
const scratch = mkdtempSync(join(tmpdir(), 'repa-simt-'))

afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function run(program: string, words: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(join(programs, program), words, {
    encoding: 'utf8',
    // Where they were compiled: a compiler's cache may make the paths of their sources, whose lines they look up, relative to that.
    cwd: join(programs, '../..'),
    env: { ...process.env, ...env },
    maxBuffer: 1 << 26,
  })
  return { status, text: stdout + stderr }
}

describe("the shim's own tests: every wrapper against the PTX manual, and planted bugs that must be found", () => {
  test.each([
    ['plain', 'simt_shim_test', 40],
    ['under AddressSanitizer', 'simt_shim_test_asan', 40],
    ['under ThreadSanitizer', 'simt_shim_test_tsan', 40],
  ])('%s', (_, program, least) => {
    const { status, text } = run(program)
    const counted = /^(\d+) passed, 0 failed/m.exec(text)
    expect({ status, counted: counted !== null }, text).toEqual({ status: 0, counted: true })
    expect(Number(counted![1])).toBeGreaterThanOrEqual(least)
  })

  test.each(['7', '12345'])('plain, on the schedule of seed %s', (seed) => {
    const { status, text } = run('simt_shim_test', [], { REPA_SIMT_SEED: seed })
    expect(status, text).toBe(0)
  })
})

test('what each instruction gives does not depend on the schedule: the dump that a GPU is compared with', () => {
  const dumps = ['1', '2'].map((seed) => {
    const path = join(scratch, `dump-${seed}`)
    expect(run('simt_conformance', [path], { REPA_SIMT_SEED: seed }).status).toBe(0)
    return readFileSync(path, 'utf8')
  })
  expect(dumps[0]!.split('\n').length).toBeGreaterThan(80)
  expect(dumps[1]).toBe(dumps[0])
})

test('a probe that fails is named with its reason, and the rest go on', () => {
  const [whole, part] = [join(scratch, 'whole'), join(scratch, 'part')]
  expect(run('simt_conformance', [whole]).status).toBe(0)
  // Enough memory for most of the probes.
  expect(run('simt_conformance', [part], { REPA_SIMT_MEMORY: '60000' }).status).toBe(0)
  const lines = (path: string) => readFileSync(path, 'utf8').trim().split('\n')
  const failed = lines(part).filter((line) => line.includes(' failed '))
  expect(failed).toContainEqual(expect.stringMatching(/^conversions failed CUDA failed to allocate .*: out of memory/))
  expect(lines(part)).toHaveLength(lines(whole).length)
  expect(lines(part).filter((line) => !failed.includes(line))).toEqual(
    lines(whole).filter((line) => !failed.some((other) => other.split(' ')[0] === line.split(' ')[0])),
  )
  const compared = run('simt_conformance', ['--compare', part, whole])
  expect(compared.status).toBe(1)
  expect(compared.text).toContain(`conversions failed (${part}): CUDA failed to allocate`)
  expect(compared.text).toContain(`0 differ, ${failed.length} failed`)
})
