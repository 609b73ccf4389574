/** Products by a cuBLASLt, of which the suite has one of its own (native/simt/test/fake_cublaslt.cpp). */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { findSystemLibraries } from '../../src/doctor/system-libraries.ts'
import { native } from '../../src/native.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { runProgram } from '../native/run-program.ts'

const library = join(import.meta.dirname, '../../build/simt/libcublasLt_fake.so')
const folder = mkdtempSync(join(tmpdir(), 'repa-cublaslt-'))
const log = join(folder, 'log')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const lines = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : [])

// The addon of this process reads them at every product.
process.env.REPA_CUBLASLT = library
process.env.REPA_GEMM = 'cublaslt'
process.env.FAKE_CUBLASLT_LOG = log
// The tables of cases of the products once more.
await import('../tensor/ops/linear.test.ts')

test.each(['bf16', 'f16'] as const)(
  'weight gradients in %s, written and then accumulated, alone and grouped',
  async (dtype) => {
    const device = 'cuda:0'
    const [rows, out, width] = [70, 24, 40]
    // Small whole numbers: every sum is exact.
    const whole = (shape: [number, number], factor: number) =>
      Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => ((i * factor) % 7) - 3)
    const [dOut, x] = [whole([rows, out], 5), whole([rows, width], 11)]
    const expected = new Float32Array(out * width)
    for (let row = 0; row < rows; row++)
      for (let o = 0; o < out; o++)
        for (let i = 0; i < width; i++) expected[o * width + i]! += dOut[row * out + o]! * x[row * width + i]!

    using dOutF32 = Tensor.from(dOut, [rows, out], device)
    using xF32 = Tensor.from(x, [rows, width], device)
    using dOutTensor = cast(dOutF32, dtype)
    using xTensor = cast(xF32, dtype)
    using first = Tensor.empty([out, width], device)
    using second = Tensor.empty([out, width], device)
    const [d, a] = [dOutTensor.handle, xTensor.handle]
    native().linearWeightGradients([d, d], [a, a], [first.handle, second.handle], false)
    native().linearWeightGradient(d, a, second.handle, true)
    expect(await first.data()).toEqual(expected)
    expect(await second.data()).toEqual(expected.map((value) => 2 * value))
  },
)

test('it has computed every layout in both dtypes, to C itself and through scratch, and accumulated', () => {
  const seen = new Set(lines(log))
  // The types are cudaDataType_t's: 0 is f32, 2 f16 and 14 bf16. A forward product has a bias, and so goes through scratch.
  for (const type of [2, 14]) {
    expect(seen).toContain(`TN ${type} 0 beta 0 algorithm 0`)
    expect(seen).toContain(`NN ${type} ${type} beta 0 algorithm 0`)
    expect(seen).toContain(`NN ${type} 0 beta 0 algorithm 0`)
    expect(seen).toContain(`NT ${type} 0 beta 0 algorithm 0`)
    expect(seen).toContain(`NT ${type} 0 beta 1 algorithm 0`)
  }
})

describe('whatever is fastest', () => {
  const choices = join(folder, 'cache', 'choices.txt')
  const own = join(folder, 'own')
  beforeEach(() => {
    for (const path of [join(folder, 'cache'), own]) rmSync(path, { recursive: true, force: true })
  })

  const run = (env: Record<string, string>, ...args: string[]) => {
    const all = { REPA_GEMM: 'auto', REPA_KERNEL_CHOICES: choices, FAKE_CUBLASLT_LOG: own, ...env }
    const { stdout, stderr } = runProgram('products', { env: all, args })
    return { said: stdout.trim(), stderr }
  }

  let slower: { readonly said: string; readonly choices: readonly string[] } | undefined
  /** What comes of a library that is slower than every own kernel: measured once, for the shim takes seconds over it. */
  const whereSlower = () => {
    slower ??= { said: run({ FAKE_CUBLASLT_FAST: '99' }).said, choices: lines(choices) }
    return slower
  }

  test('is measured once: later runs make the same choices and the same bits, with other times', () => {
    const first = run({ FAKE_CUBLASLT_FAST: '3' })
    expect(first.said, first.stderr).toMatch(/^[0-9a-f]{64}$/)
    const kept = lines(choices)
    expect(kept.length).toBe(6)
    // Of five algorithms the second does not work here; the fourth is the third that does.
    for (const line of kept) expect(line).toMatch(/^\S.* x2; cuBLASLt 130000; .* = (own \d+x\d+|cublaslt 2( 2)?)$/)
    expect(kept.some((line) => line.endsWith(' = cublaslt 2'))).toBe(true)
    rmSync(own)

    const second = run({ FAKE_CUBLASLT_FAST: '0' })
    expect(second.said).toBe(first.said)
    expect(lines(choices)).toEqual(kept)
    // Nothing is measured any more.
    expect(new Set(lines(own).map((line) => line.split(' ').at(-1)))).toEqual(new Set(['3']))

    // Other choices are other bits: the file is what makes the runs equal.
    writeFileSync(
      choices,
      kept.map((line) => line.replace(/cublaslt 2( 2)?$/, (_, more) => `cublaslt 0${more ? ' 0' : ''}`)).join('\n'),
    )
    expect(run({}).said).not.toBe(first.said)
  })

  test('is measured with a result that is aligned as it will be', () => {
    // Of an unevenly aligned result the library knows three algorithms, of which the second does not work.
    const first = run({ FAKE_CUBLASLT_FAST: '3' }, 'uneven')
    expect(first.said, first.stderr).toMatch(/^[0-9a-f]{64}$/)
    expect(lines(choices)).toEqual([expect.stringMatching(/ at \d+,\d+,32 .* = (own \d+x\d+|cublaslt [01])$/)])
    expect(run({}, 'uneven').said).toBe(first.said)
  })

  test('is the own kernel where the library is slower, with the bits that it has without', () => {
    const plain = run({ REPA_GEMM: '' }).said
    expect(whereSlower().said).toBe(plain)
    expect(whereSlower().choices).toHaveLength(6)
    for (const line of whereSlower().choices) expect(line).toMatch(/ = own \d+x\d+$/)
  })

  test('goes on a line of its own in a file whose last line somebody left open', () => {
    const plain = run({ REPA_GEMM: '' }).said
    const [last, ...others] = whereSlower().choices
    mkdirSync(dirname(choices), { recursive: true })
    writeFileSync(choices, others.join('\n'))
    expect(run({ FAKE_CUBLASLT_FAST: '99' }).said).toBe(plain)
    const keyOf = (line: string) => line.split(' = ')[0]
    expect(lines(choices).map(keyOf)).toEqual([...others, last!].map(keyOf))
  })

  test('is found out before a step is captured, not meanwhile', () => {
    expect(run({}, 'capture').said).toMatch(
      /has not measured a product of this shape yet, and cannot while a step is captured/,
    )
    expect(existsSync(choices)).toBe(false)
    expect(run({}, 'capture', 'warm').said).toBe('captured')
  })

  test('is measured with a result of its own, and where that has no room it is said what to do', () => {
    expect(run({}, 'full').stderr).toMatch(
      /the rehearsal of a product: out of memory: .* Or unset REPA_GEMM: auto measures/,
    )
  })

  test.each([
    [
      { REPA_CUBLASLT: '/nowhere/libcublasLt.so.13' },
      /REPA_CUBLASLT names \/nowhere\/libcublasLt\.so\.13, which does not open/,
    ],
    [{ REPA_CUBLASLT: '/nowhere/libcublasLt.so.13', REPA_GEMM: 'cublaslt' }, /which does not open/],
    [{ REPA_KERNEL_CHOICES: '/proc/choices.txt' }, /keeps its choices in \/proc\/choices\.txt.*cannot be written/],
    [
      { REPA_GEMM: 'cublas' },
      /REPA_GEMM is "cublas"; expected mma, wgmma, wgmma-128x192, wgmma-128x256, cublaslt or auto\./,
    ],
  ])('%o is an error that says what to do', (env, sentence) => {
    expect(run(env).stderr).toMatch(sentence)
  })

  test('is one of the own tiles where there is no library, which is an error only where it is asked for', async ({
    skip,
  }) => {
    const { REPA_CUBLASLT: _, ...env } = process.env
    const found = (await findSystemLibraries(env)).find(({ name }) => name === 'cuBLASLt')
    if (found?.file) skip(`this machine has ${found.file}`)
    expect(run({ REPA_CUBLASLT: '', REPA_GEMM: 'cublaslt' }).stderr).toMatch(
      /finds neither libcublasLt\.so\.13 nor libcublasLt\.so\.12/,
    )
    const plain = run({ REPA_GEMM: '' }).said
    expect(run({ REPA_CUBLASLT: '' }).said).toBe(plain)
    // What there is one tile for needs no choice.
    expect(lines(choices)).toHaveLength(2)
    for (const line of lines(choices)) expect(line).toMatch(/^\S.* x2; no cuBLASLt; .* = own \d+x\d+$/)
    expect(run({ REPA_CUBLASLT: '' }).said).toBe(plain)
    // One that comes later is measured beside them.
    expect(run({ FAKE_CUBLASLT_FAST: '99' }).said).toBe(plain)
    expect(lines(choices)).toHaveLength(2 + 6)
  })

  /** Runs with every choice that was measured replaced by another. */
  const chosen = (choice: string) => {
    const others = whereSlower().choices.map((line) => line.replace(/ = .*/, ` = ${choice}`))
    mkdirSync(dirname(choices), { recursive: true })
    writeFileSync(choices, others.join('\n'))
    return run({})
  }

  test.each(['cublaslt 7 7 7', 'own 64x64', 'own', 'own 128x128 3'])(
    'a choice that there is not, %s, is an error that says what to do',
    (choice) => {
      expect(chosen(choice).stderr).toContain(
        `holds the choice "${choice}", which is none of this build's or of this cuBLASLt's; delete the file`,
      )
    },
  )

  test('a tile is chosen from those that Hopper has for a product', () => {
    const tile = (line: string) => line.replace(/^.* = own /, '')
    const names = new Set(whereSlower().choices.map(tile))
    expect([...names].filter((name) => !['128x128', '256x128', '128x192', '128x256'].includes(name))).toEqual([])
    // A weight gradient has no tile of 192 columns.
    expect(chosen('own 128x192').stderr).toMatch(/linearWeightGradient: .* holds the choice "own 128x192"/)
  })
})
