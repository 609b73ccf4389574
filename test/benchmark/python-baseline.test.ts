import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baselineModel } from '../../src/benchmark/baseline-model.ts'
import {
  type BaselineModel,
  findPython,
  PythonBaseline,
  type PythonBaselineOptions,
} from '../../src/benchmark/python-baseline.ts'
import { benchmarkSampling } from '../../src/benchmark/sampling.ts'
import { transformerEntries } from '../../src/models/diffusion-transformer.ts'
import { parseSiTConfig } from '../../src/models/sit.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { isRunning } from './is-running.ts'

const model: BaselineModel = {
  inputSize: 8,
  channels: 4,
  patch: 2,
  hidden: 32,
  depth: 2,
  heads: 2,
  classes: 10,
  encoderDepth: 1,
  projectorDim: 48,
  zDims: [24, 40],
  qkNorm: true,
}

function fake(mode = 'works') {
  const command = [process.execPath, join(import.meta.dirname, 'fake-worker.mjs'), mode] as const
  return PythonBaseline.start({ model, batch: 2, threads: 3, command: [...command] })
}

describe('a worker that works', () => {
  test('reports, steps and closes', async () => {
    await using baseline = await fake()
    expect(baseline.info).toEqual({
      torch: '0.0',
      python: '3',
      threads: 3,
      blas: '/lib/libopenblas.so.0',
      waitPolicy: 'passive',
      cpuCapability: 'AVX2',
      parameters: 7,
    })
    expect(await baseline.step(3)).toEqual([0.5, 1, 1.5])
    expect(await baseline.peakRssBytes()).toBe(32_000)
  })

  test('answers requests that overlap in their order', async () => {
    await using baseline = await fake()
    const [two, memory, one] = await Promise.all([baseline.step(2), baseline.peakRssBytes(), baseline.step(1)])
    expect([two, memory, one]).toEqual([[0.5, 1], 32_000, [0.5]])
  })

  test('is gone after close, which may be called twice', async () => {
    const baseline = await fake()
    await baseline.close()
    await baseline.close()
    await expect(baseline.step(1)).rejects.toThrow('ended with status 0')
  })

  test('is killed where it does not go', async () => {
    const baseline = await fake('stays')
    await baseline.close()
    await expect(baseline.step(1)).rejects.toThrow('ended by SIGKILL')
  })

  test('leaves no listener on the process', async () => {
    const before = process.listenerCount('exit')
    await (await fake()).close()
    await expect(fake('refuses')).rejects.toThrow()
    expect(process.listenerCount('exit')).toBe(before)
  })
})

describe('a worker that fails', () => {
  test.each([
    ['refuses', 'The Python baseline: the BLAS is unfit; do this.'],
    ['unknown-field', 'surprise'],
  ])('%s at the start', async (mode, message) => {
    await expect(fake(mode)).rejects.toThrow(message)
  })

  test.each([
    ['dies', 'ended with status 3; the last that it said: Killed by want of memory'],
    ['babbles', 'not JSON: Segmentation fault'],
    ['negative', '{"seconds":[-1]}'],
    ['few', 'timed 1 steps; 2 were asked for'],
  ])('%s at a step', async (mode, message) => {
    await using baseline = await fake(mode)
    await expect(baseline.step(2)).rejects.toThrow(message)
  })

  test('a program that is not there', async () => {
    const start = PythonBaseline.start({ model, batch: 1, threads: 1, command: ['/nowhere/python'] })
    await expect(start).rejects.toThrow('could not be started with /nowhere/python')
  })
})

// The process that started the worker goes without a word; the worker must go too.
test('the worker ends with the process that started it', async () => {
  const url = (path: string) => JSON.stringify(join(import.meta.dirname, path))
  const script = `
    const { spawn } = require('node:child_process')
    const child = spawn(process.execPath, [${url('fake-worker.mjs')}, 'works'], { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.write('{"configure": {"model": {}, "batch": 1, "threads": 1}}\\n')
    child.stdout.once('data', () => { console.log(child.pid); process.exit(0) })`
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', script])
  const pid = Number(stdout)
  expect(pid).toBeGreaterThan(0)
  await expect.poll(() => isRunning(pid), { timeout: 60_000 }).toBe(false)
})

describe('finding Python', () => {
  let directory = ''
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'repa-python-'))
    await writeFile(join(directory, 'python3'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
    await writeFile(join(directory, 'without-torch'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  })
  afterAll(() => rm(directory, { recursive: true }))

  test('takes REPA_PYTHON before any other', async () => {
    const REPA_PYTHON = join(directory, 'python3')
    expect(await findPython({ PATH: '/nowhere', REPA_PYTHON })).toBe(REPA_PYTHON)
  })

  test('takes python3 of the path', async () => {
    expect(await findPython({ PATH: directory })).toBe('python3')
  })

  test.each(['without-torch', 'not-there'])('says what to install where REPA_PYTHON is %s', async (name) => {
    const REPA_PYTHON = join(directory, name)
    await expect(findPython({ PATH: directory, REPA_PYTHON })).rejects.toThrow(
      `No python3 with torch found (tried ${REPA_PYTHON}); on Debian: apt install python3-torch libopenblas0-openmp`,
    )
  })
})

// Either the real worker trains, or it says in a sentence which BLAS it will not be measured with.
const python = await findPython().catch(() => undefined)
/** The error with which a worker refuses the machine's BLAS is no failure; any other is. */
const refusedBlas = (error: Error) => {
  expect(error.message).toMatch(/not .*OpenMP build; on Debian, as root: .*update-alternatives --set lib/)
  return undefined
}
test.skipIf(!python)(
  'the real worker trains, or refuses the BLAS and says what to do',
  { timeout: 180_000 },
  async () => {
    const baseline = await PythonBaseline.start({ model, batch: 2, threads: 2 }).catch(refusedBlas)
    if (!baseline) return
    await using worker = baseline
    // Counted by hand from the shapes of the official state dict, pos_embed left out.
    const [d, table, mlp, projector] = [32, 11, 4, 48]
    const linear = (inputs: number, outputs: number) => (inputs + 1) * outputs
    const block =
      linear(d, 3 * d) +
      linear(d, d) +
      linear(d, mlp * d) +
      linear(mlp * d, d) +
      linear(d, 6 * d) +
      4 * (d / model.heads)
    const heads = model.zDims.map((z) => linear(d, projector) + linear(projector, projector) + linear(projector, z))
    const embedders = linear(16, d) + linear(256, d) + linear(d, d) + table * d
    const parameters = embedders + 2 * block + heads[0] + heads[1] + linear(d, 16) + linear(d, 2 * d)
    expect(worker.info).toMatchObject({ threads: 2, parameters })
    const seconds = await worker.step(2)
    expect(seconds).toHaveLength(2)
    for (const value of seconds) expect(value).toBeLessThan(30)
    expect(await worker.peakRssBytes()).toBeGreaterThan(50e6)
  },
)

// Golden vectors hold the two variants together: bench/python/check.py.
// At 64, the latents of images of 512 pixels, the encoder sees 448 of them.
test.skipIf(!python).each([
  ['tuned', model.inputSize],
  ['as-written', model.inputSize],
  ['tuned', 64],
] as const)(
  'the real worker trains %s on latents of side %d, in bf16 and with an encoder in the loop',
  { timeout: 180_000 },
  async (variant, inputSize) => {
    const encoder = { hidden: 24, depth: 1, heads: 2 }
    // Without qk-norm, for which PyTorch 1.13's autocast on a CPU has no kernel.
    const baseline = await PythonBaseline.start({
      model: { ...model, inputSize, zDims: [24], qkNorm: false },
      batch: 2,
      threads: 2,
      variant,
      precision: 'bf16',
      encoder,
    }).catch(refusedBlas)
    if (!baseline) return
    await using worker = baseline
    expect(await worker.step(2)).toHaveLength(2)
    expect(await worker.peakDeviceBytes()).toBeUndefined()
  },
)

test.skipIf(!python).each(['tuned', 'as-written'] as const)(
  'the real worker trains a model of text %s, as large as ours',
  { timeout: 180_000 },
  async (variant) => {
    const text = { tokens: 5, width: 24 }
    const { inputSize: side, channels, patch, hidden, depth, heads, zDims, projectorDim, encoderDepth } = model
    const config = parseSiTConfig({
      kind: 'SiT',
      inputSize: [side, side],
      channels,
      patch,
      hidden,
      depth,
      heads,
      classes: 0,
      text,
      alignWidths: [...zDims],
      alignDepth: encoderDepth,
      projectorWidth: projectorDim,
    })
    const baseline = await PythonBaseline.start({
      model: baselineModel(config),
      batch: 2,
      threads: 2,
      variant,
    }).catch(refusedBlas)
    if (!baseline) return
    await using worker = baseline
    const trained = transformerEntries(config).filter(({ parameter }) => parameter.trainable)
    expect(worker.info.parameters).toBe(trained.reduce((sum, { shape }) => sum + elementCount(shape), 0))
    expect(await worker.step(2)).toHaveLength(2)
  },
)

test.skipIf(!python)('the real worker samples, by as large a model as ours', { timeout: 180_000 }, async () => {
  const sizes = { depth: 1, hidden: 48, heads: 2, patch: 8 }
  const result = await benchmarkSampling({ model: sizes, batch: 2, steps: 3, against: 'python' }).catch(refusedBlas)
  if (!result) return
  expect(result.baseline!.parameters).toBe(result.parameters)
  expect(result.baseline!.seconds.seconds).toHaveLength(7)
})

describe.skipIf(!python)(
  'the real worker where torch.compile is one that says what it is given',
  { timeout: 180_000 },
  () => {
    const scripts = join(import.meta.dirname, '../../bench/python')
    const stub = join(import.meta.dirname, 'compiling_torch.py')
    const start = (options: Partial<PythonBaselineOptions>, version = '2.11.0+cu130') =>
      PythonBaseline.start({
        model: { ...model, zDims: [24], qkNorm: false },
        batch: 2,
        threads: 2,
        encoder: { hidden: 24, depth: 3, heads: 2 },
        command: [python!, '-B', stub, join(scripts, 'step.py'), version],
        ...options,
      })
    /** What the worker says of a start and two steps; undefined where it refuses the BLAS. */
    async function said(options: Partial<PythonBaselineOptions>) {
      const log: string[] = []
      const baseline = await start({ onLog: (line) => log.push(line), ...options }).catch(refusedBlas)
      if (!baseline) return undefined
      await using worker = baseline
      expect(await worker.step(2)).toHaveLength(2)
      return log
    }
    const compiles = (log: readonly string[]) => log.filter((line) => line.startsWith('compiles '))

    test.each([
      [undefined, 'max-autotune', ['SiT', 'projection_loss', 'DINOv2']],
      ['whole', 'default', ['SiT', 'projection_loss', 'DINOv2']],
      ['blocks', 'max-autotune', ['SiTBlock', 'SiTBlock', 'projection_loss', 'Block', 'Block', 'Block']],
    ] as const)('regions %s in %s', async (regions, compile, expected) => {
      const log = await said({ compile, ...(regions && { regions }) })
      if (log) expect(compiles(log)).toEqual(expected.map((what) => `compiles ${what} (${compile})`))
    })

    test('says how far it is', async () => {
      const log = await said({ compile: 'max-autotune', regions: 'blocks' })
      if (!log) return
      const sentences = log.flatMap((line) => /^[\d.]+ s: (.+)$/.exec(line)?.[1] ?? [])
      const stages = (step: number) =>
        ['features', 'forward pass', 'backward pass'].map((what) => `step ${step} has made the ${what}`)
      expect(sentences.map((sentence) => sentence.replace(/[\d.]+ s\b/, '# s'))).toEqual([
        'PyTorch 2.11.0+cu130 is ready and compiles each block by itself in its first step (max-autotune)',
        ...[...stages(1), 'step 1 took # s, compiling included'],
        ...[...stages(2), 'step 2 took # s'],
      ])
      expect(log).toContain('AUTOTUNE addmm(4x4, 4x4, 4x4)')
    })

    test('says nothing where nothing is compiled', async () => {
      const log = await said({})
      if (log) expect(log).toEqual([])
    })

    test('refuses to compile by blocks where they would not share what is compiled', async () => {
      await expect(start({ compile: 'default', regions: 'blocks' }, '2.4.1')).rejects.toThrow(
        /Compiling block by block takes PyTorch 2\.5 or later; this is 2\.4\.1\.|OpenMP build/,
      )
    })
  },
)

test.skipIf(!python)(
  'the real worker compiles, or says from which PyTorch on it can',
  { timeout: 60_000 },
  async () => {
    const start = PythonBaseline.start({ model, batch: 2, threads: 2, compile: 'default' })
    const refusal = await start.then(
      (worker) => worker.close(),
      (error: Error) => error.message,
    )
    if (refusal) expect(refusal).toMatch(/torch\.compile came with PyTorch 2; this is 1\.|OpenMP build/)
  },
)

test.skipIf(!python)(
  'the real worker refuses a projection that no encoder of its makes',
  { timeout: 60_000 },
  async () => {
    const start = PythonBaseline.start({ model, batch: 2, threads: 2, encoder: 'dinov2-vit-b' })
    await expect(start).rejects.toThrow(/The projectors give \(24, 40\); the encoder has a width of 768\.|OpenMP build/)
  },
)
