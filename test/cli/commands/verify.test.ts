import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GoldenCopy, haveGolden } from '../../verification/golden-copy.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const PARAMS = 'sit-repa/sit-qknorm-h32.params.safetensors'
const FORWARD = 'sit-repa/sit-qknorm-h32.forward.safetensors'
const copyOf = (...paths: string[]) => new GoldenCopy((path) => paths.includes(path))

// The program as it is built, in a folder of its own.
describe.skipIf(!haveGolden)('repa verify', () => {
  let program: string

  beforeAll(() => {
    program = mkdtempSync(join(tmpdir(), 'repa-verify-cli-'))
    const compiler = join(root, 'node_modules/typescript/bin/tsc')
    execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', join(program, 'dist')], {
      cwd: root,
    })
    cpSync(join(root, 'package.json'), join(program, 'package.json'))
    for (const folder of ['node_modules', 'build']) symlinkSync(join(root, folder), join(program, folder))
  }, 120_000)

  afterAll(() => rmSync(program, { recursive: true, force: true }))

  function repa(...words: string[]) {
    const main = join(program, 'dist/cli/main.js')
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'verify', ...words], { encoding: 'utf8' })
    return { status, stdout, stderr, lines: stderr.trimEnd().split('\n') }
  }

  test('all within tolerance: a table and a summary, exit 0', () => {
    const { status, stdout, lines } = repa(copyOf(PARAMS, FORWARD).directory)
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
    expect(lines[0]).toMatch(/^case +kind +file +tensor +error +tolerance +ratio +time$/)
    expect(lines[1]).toMatch(/^sit-qknorm-h32 +sit\.forward +sit-qknorm-h32\.forward\.safetensors/)
    expect(lines.at(-1)).toMatch(
      /^1 files, \d+ tensors compared, worst ratio [\d.e-]+ at sit-repa\/.*, 4 intermediates not exposed; 0 failed \(.*\)$/,
    )
    expect(lines).toHaveLength(3)
  })

  test('--all lists every tensor', () => {
    const copy = copyOf(PARAMS, FORWARD)
    const { status, stderr } = repa(copy.directory, '--all')
    expect(status).toBe(0)
    for (const name of ['out', 'zs.0', 'zs.1', 'mid.tokens_in', 'mid.c', 'mid.blocks.0.adaLN', 'mid.final_layer']) {
      expect(stderr).toMatch(new RegExp(`  ${name} `))
    }
  })

  test('--json: one object, nothing else', () => {
    const { status, stdout, stderr } = repa(copyOf(PARAMS, FORWARD).directory, '--json')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.trimEnd()).not.toContain('\n')
    expect(JSON.parse(stdout)).toMatchObject({ passed: true, files: 1, failed: 0, notExposed: 4, device: 'cpu' })
  })

  test('a number outside its tolerance: what, where, exit 1', async () => {
    const copy = copyOf(PARAMS, FORWARD)
    await copy.changeTensor(FORWARD, 'out', (view) => view.setFloat32(20, 9, true))
    const human = repa(copy.directory)
    expect(human.status).toBe(1)
    expect(human.stderr).toMatch(/failed sit-repa\/.*forward\.safetensors out: .* at \[0,0,0,5\], expected 9: .* × its/)
    expect(human.lines.at(-1)).toBe(`repa verify: 1 of 1 files failed: ${FORWARD}.`)
    const machine = repa(copy.directory, '--json')
    expect(machine.status).toBe(1)
    expect(JSON.parse(machine.stdout)).toMatchObject({ passed: false, failed: 1 })
  })

  test('unknown kinds: by name, with a count, exit 1', () => {
    const copy = copyOf(PARAMS, FORWARD)
    copy.file(FORWARD).kind = 'sit.backward'
    copy.write()
    const { status, stderr, lines } = repa(copy.directory)
    expect(status).toBe(1)
    expect(stderr).toContain('sit.backward (1): nothing here verifies files of this kind')
    expect(lines.at(-1)).toContain('1 of 1 files failed: of kinds that nothing here verifies: sit.backward (1).')
  })

  test.each<[string[], number, string]>([
    [['--kind', 'dit.*'], 1, 'repa verify: nothing to verify was selected'],
    [['--case', 'sit-xl'], 1, 'repa verify: nothing to verify was selected'],
    [['--kind', 'sit.*,other', '--case', '*'], 0, "the pattern 'other' fits nothing"],
    [['--device', 'cuda:9'], 1, 'no cuda:9 here'],
    [['--kinds', 'sit.*'], 2, '--kind'],
  ])('%j: exit %d', (words, status, message) => {
    const result = repa(copyOf(PARAMS, FORWARD).directory, ...words)
    expect(result.status).toBe(status)
    expect(result.stderr).toContain(message)
  })

  test('a folder without a manifest: exit 1, one line', () => {
    const result = repa(tmpdir())
    expect(result).toMatchObject({ status: 1, stdout: '' })
    expect(result.stderr).toMatch(
      /^repa verify: Cannot read .*manifest\.json: there is no such file or folder; check the path.*\n$/,
    )
  })
})
