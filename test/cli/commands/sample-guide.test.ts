/** A guide predicts what the model does, or it is refused; and it is run as it was trained. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import type { TrainingOptions } from '../../../src/training/configuration.ts'
import { train } from '../../../src/training/run.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { latentsWith, ONE, OTHER } from '../../training/standardised-latents.ts'
import { RecordingStream } from '../recording-stream.ts'

const MODEL = { kind: 'SiT', depth: 1, hidden: 16, heads: 4, patch: 2 } as const

/** A run's folder. */
async function run(data: string, configuration: TrainingOptions = {}): Promise<string> {
  const out = join(temporaryFolder(), 'run')
  const shared = { model: MODEL, batch: 2, steps: 1, samples: { count: 1, steps: 1 } }
  await train({ data, out, configuration: { ...shared, ...configuration }, device: 'cpu' })
  return out
}

async function sampled(checkpoint: string, ...words: string[]) {
  const out = join(temporaryFolder(), 'samples')
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const all = ['sample', '--checkpoint', checkpoint, '--out', out, '--num', '1', '--steps', '2', '--cfg-scale', '2']
  const status = await dispatch([...all, '--weights', 'model', '--quiet', ...words], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  const latents = join(out, 'latents.npz')
  return {
    status,
    // Of the preview that latents are shown by this is not about.
    stderr: stderr.text.replace(/^warning: The model makes latents .*\n/m, ''),
    latents: existsSync(latents) ? readFileSync(latents, 'base64') : undefined,
  }
}

describe('a guide that learned another path', () => {
  const OTHER_PATH = 'is asked for velocities of the cosine one.'

  test.each<
    [
      model: 'linear' | 'cosine',
      guide: 'linear' | 'cosine',
      words: readonly string[],
      difference?: string,
      warning?: string,
    ]
  >([
    ['linear', 'linear', []],
    ['cosine', 'cosine', []],
    ['linear', 'cosine', [], 'its path is cosine, not linear'],
    ['cosine', 'linear', [], 'its path is linear, not cosine'],
    // What counts is what is sampled along.
    ['linear', 'cosine', ['--path', 'cosine'], undefined, OTHER_PATH],
    ['linear', 'linear', ['--path', 'cosine'], 'its path is linear, not cosine', OTHER_PATH],
  ])('%s, guided by %s, %j', async (ofModel, ofGuide, words, difference, warning) => {
    const data = await tinyDataset()
    const model = await run(data, { path: ofModel })
    const { status, stderr, latents } = await sampled(model, '--guide', await run(data, { path: ofGuide }), ...words)
    const checkpoint = join(model, 'checkpoints', '0000001')
    expect({ status, lines: stderr.match(/.+/g) ?? [] }).toEqual({
      status: difference === undefined ? 0 : 1,
      lines: [
        ...(warning
          ? [`warning: ${checkpoint} (model, step 1) was trained on the ${ofModel} path, and ${warning}`]
          : []),
        ...(difference ? [`repa sample: The guide does not predict what the model does: ${difference}.`] : []),
      ],
    })
    expect(latents !== undefined).toBe(difference === undefined)
  })

  test('is not asked for it where it is a DiT, which has none', async () => {
    const data = await tinyDataset()
    const model = await run(data, { model: { ...MODEL, kind: 'DiT' } })
    expect(await sampled(model, '--guide', model)).toMatchObject({ status: 0, stderr: '' })
  })
})

describe('a guide of latents', () => {
  test.each<[what: string, guide: typeof ONE | undefined, isRefused: boolean]>([
    ['that were standardised as the model’s', ONE, false],
    ['that were standardised by other statistics', OTHER, true],
    ['that were not standardised', undefined, true],
  ])('%s', async (_, ofGuide, isRefused) => {
    const model = { ...MODEL, patch: 1 }
    const ofModel = await run(await latentsWith(ONE), { model })
    const guide = await run(await latentsWith(ofGuide), { model })
    const { status, stderr } = await sampled(ofModel, '--guide', guide)
    expect(status).toBe(isRefused ? 1 : 0)
    expect(
      stderr.includes('does not predict what the model does: its latents were standardised by other statistics.'),
    ).toBe(isRefused)
  })
})

describe('a guide that is a bare file', () => {
  const GUESSED = 'does not tell how many attention heads it has: 1 assumed'

  test('has the heads that --guide-heads says, which the notice names', async () => {
    const data = await tinyDataset()
    // A model begins without attention.
    const learned = { steps: 8, learningRate: 0.05 }
    const [model, guide] = [await run(data, learned), await run(data, { ...learned, seed: 1 })]
    const file = join(guide, 'checkpoints', '0000008', 'model.safetensors')
    const whole = await sampled(model, '--guide', guide)
    expect(whole).toMatchObject({ status: 0, stderr: '' })
    expect(await sampled(model, '--guide', file, '--guide-heads', '4')).toEqual(whole)
    const guessed = await sampled(model, '--guide', file)
    expect(guessed).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(`warning: ${file} ${GUESSED}, one for every 64 features; --guide-heads sets it`),
    })
    expect(guessed.latents).not.toBe(whole.latents)
    // Those of the model are another flag's.
    const bare = join(model, 'checkpoints', '0000008', 'model.safetensors')
    expect(await sampled(bare, '--heads', '4', '--guide', file, '--guide-heads', '4')).toEqual({
      ...whole,
      stderr: `warning: ${bare} holds one set of weights, and does not tell which: --weights model chooses nothing.\n`,
    })
    expect((await sampled(bare, '--guide', file, '--guide-heads', '4')).stderr).toContain(
      `warning: ${bare} ${GUESSED}, one for every 64 features; --heads sets it`,
    )
  })

  test('and no other heads than its checkpoint says', async () => {
    const model = await run(await tinyDataset())
    expect(await sampled(model, '--guide', model, '--guide-heads', '4')).toMatchObject({ status: 0 })
    expect(await sampled(model, '--guide', model, '--guide-heads', '2')).toMatchObject({
      status: 1,
      stderr: `repa sample: ${model}/checkpoints/0000001 is of a model with heads 4, not 2; leave it out, the checkpoint says what it is.\n`,
    })
  })
})
