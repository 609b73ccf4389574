/** What `repa sample` does where a flag is left out, and what it does not take together. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { train } from '../../../src/training/run.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

const SIZES = { depth: 1, hidden: 16, heads: 2, patch: 2 } as const
const MODELS = {
  REPA: { kind: 'SiT', ...SIZES },
  'the original SiT': { kind: 'SiT', ...SIZES, convention: 'sit', learnSigma: true },
  LightningDiT: { kind: 'SiT', ...SIZES, convention: 'sit', norm: 'rmsNorm', ffn: 'swiglu', rope: true },
  DiT: { kind: 'DiT', ...SIZES },
} as const

async function sampled(model: keyof typeof MODELS, ...words: string[]) {
  const folder = temporaryFolder()
  const [run, out] = [join(folder, 'run'), join(folder, 'samples')]
  const configuration = { model: MODELS[model], batch: 2, steps: 1, samples: { count: 1, steps: 1 } }
  await train({ data: await tinyDataset(), out: run, configuration, device: 'cpu' })
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(['sample', '--checkpoint', run, '--out', out, '--num', '1', ...words], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  const record = join(out, 'sampling.json')
  return { status, stderr: stderr.text, ...(existsSync(record) && JSON.parse(readFileSync(record, 'utf8'))) }
}

describe('guidance', () => {
  test.each<[model: keyof typeof MODELS, words: readonly string[], high: number]>([
    ['REPA', [], 0.7],
    ['REPA', ['--guidance-high', '1'], 1],
    ['the original SiT', [], 1],
    ['the original SiT', ['--guidance-high', '0.7'], 0.7],
    ['LightningDiT', [], 1],
    ['DiT', [], 1],
  ])('of %s %j is active up to %d', async (model, words, high) => {
    const result = await sampled(model, '--steps', '1', '--cfg-scale', '1.5', ...words)
    expect(result).toMatchObject({ status: 0, sampling: { guidanceScale: 1.5, guidanceLow: 0, guidanceHigh: high } })
  })
})

describe('steps', () => {
  test('with --solver dopri5, which chooses its own, are refused', async () => {
    expect(await sampled('the original SiT', '--solver', 'dopri5', '--steps', '250')).toEqual({
      status: 2,
      stderr: 'repa sample: --steps 250 is of euler and heun, and dopri5 chooses its own; leave it out.\n',
    })
  })

  test.each<[words: readonly string[], steps: number | undefined]>([
    [['--solver', 'dopri5'], undefined],
    [['--solver', 'heun', '--steps', '2'], 2],
    [[], 250],
  ])('%j', async (words, steps) => {
    const result = await sampled('REPA', '--cfg-scale', '1', ...words)
    expect(result.status).toBe(0)
    expect(result.sampling.steps).toBe(steps)
  })
})

test('a grid shows every image, or as many as it is told to', async () => {
  const grid = join(temporaryFolder(), 'grid.png')
  const widthOf = async (...words: string[]) => {
    const { status } = await sampled('REPA', '--steps', '1', '--num', '3', '--grid', grid, ...words)
    expect(status).toBe(0)
    // Of the header chunk, right behind the signature.
    return readFileSync(grid).readUInt32BE(16)
  }
  // Two across, and a border of two pixels around each.
  expect((await widthOf()) - 2).toBe(2 * ((await widthOf('--grid-count', '1')) - 2))
})
