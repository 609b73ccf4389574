/** The grids of samples of a training. */
import { writeFileSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseConfiguration } from '../../src/configuration/parse.ts'
import type { Dataset } from '../../src/data/dataset.ts'
import { imageGrid } from '../../src/data/grid.ts'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { sampleImages } from '../../src/diffusion/sample-images.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'
import { loadModel } from '../../src/training/load-model.ts'
import type { MetricsLog } from '../../src/training/metrics.ts'
import { train } from '../../src/training/run.ts'
import { writeSamples } from '../../src/training/sample-grids.ts'
import type { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { TableCaptionEncoder } from '../text/table-caption-encoder.ts'
import { modelOf } from './tiny-trainer.ts'

test.each([
  [4, 'a linear preview of the latents, one pixel per element'],
  [6, 'a preview of the latents in false colours, the first 3 of 6 channels, one pixel per element'],
])('latents of %i channels are seen without an autoencoder', async (channels, words) => {
  const out = join(temporaryFolder(), 'run')
  const notices: string[] = []
  await train({
    out,
    data: await tinyDataset(4, undefined, channels),
    device: 'cpu',
    configuration: {
      model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 2 },
      batch: 2,
      steps: 1,
      samples: { count: 1, steps: 1, guidanceScale: 1 },
    },
    onNotice: (sentence) => notices.push(sentence),
  })
  expect(notices).toContain(`Without \`autoencoder\` the grids of samples are ${words}.`)
  const file = join(out, 'samples/0000001.png')
  const { width, height, data } = await decodeImage(await readFile(file), file)
  expect([width, height]).toEqual([12, 12])
  expect(new Set(data).size).toBeGreaterThan(20)
})

describe('a grid is what the average makes of the noise of the seed', () => {
  const SAMPLES = { count: 11, steps: 3, guidanceScale: 3 }
  const SIZE = { depth: 1, hidden: 32, heads: 2, patch: 4 } as const
  const ODE = { weights: 'ema', seed: 5, mode: 'ode', scale: SAMPLES.guidanceScale } as const
  /** None of which makes the same. */
  const OTHERS = [{ weights: 'model' }, { seed: 2 }, { scale: 1 }] as const

  test.each<[what: string, configuration: TrainingOptions, made: Partial<Way>, others: readonly Partial<Way>[]]>([
    ['guided, of a SiT', {}, {}, OTHERS],
    ['unguided, of a model without the null class', { classDropout: 0 }, { scale: 1 }, []],
    ['of a DiT', { model: { kind: 'DiT', ...SIZE } }, { mode: 'ddpm' }, [{ mode: 'ddim' }]],
  ])('%s', async (_, configuration, made, others) => {
    const out = join(temporaryFolder(), 'run')
    await train({
      out,
      data: await tinyDataset(4),
      device: 'cpu',
      configuration: {
        model: { kind: 'SiT', ...SIZE },
        batch: 2,
        steps: 2,
        seed: ODE.seed,
        // Far from where it was, and the average half the way.
        learningRate: 0.02,
        emaDecay: 0.5,
        samples: SAMPLES,
        ...configuration,
      },
    })
    const file = join(out, 'samples/0000002.png')
    const grid = new Uint8Array((await decodeImage(await readFile(file), file)).data)
    const way = { ...ODE, ...made }
    expect(await gridOf(out, way)).toEqual(grid)
    for (const other of others) expect(await gridOf(out, { ...way, ...other })).not.toEqual(grid)
  })

  interface Way {
    readonly weights: 'ema' | 'model'
    readonly seed: number
    readonly mode: 'ode' | 'ddpm' | 'ddim'
    readonly scale: number
  }

  /** By the checkpoint beside it. */
  async function gridOf(run: string, { weights, seed, mode, scale }: Way): Promise<Uint8Array> {
    const { count, steps } = SAMPLES
    const { model } = await loadModel(run, { weights })
    using _model = model
    const { value } = await sampleImages(model, {
      labels: Int32Array.from({ length: count }, (_, i) => i % model.config.classes),
      seed,
      batch: count,
      steps,
      guidance: { scale, low: 0, high: 1 },
      mode,
    }).next()
    const { images, height, width } = value!
    return imageGrid(images, [count, height, width, 3]).data
  }
})

/** Of a run with a grid after the last. */
const TWO_STEPS: TrainingOptions = {
  batch: 2,
  steps: 2,
  samples: { count: 1, steps: 1, guidanceScale: 1 },
  model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
}

test('a run that was stopped before its first step has the grids of the unbroken one', async () => {
  const [out, data] = [join(temporaryFolder(), 'run'), await tinyDataset(4)]
  const stop = new AbortController()
  const call = { out, data, device: 'cpu', configuration: { ...TWO_STEPS, sampleEvery: 2 } } as const
  const stopped = await train({ ...call, signal: stop.signal, onStart: () => stop.abort() })
  expect(stopped).toMatchObject({ step: 0, interrupted: true })
  await train({ ...call, resume: true })
  expect(await readdir(join(out, 'samples'))).toEqual(['0000002.png'])
})

test('a run that was stopped before its last grid makes it when it goes on, and not again where it is', async () => {
  const [out, data] = [join(temporaryFolder(), 'run'), await tinyDataset(4)]
  const stop = new AbortController()
  const call = { out, data, device: 'cpu', configuration: TWO_STEPS } as const
  const onStep = ({ index }: { readonly index: number }) => index === 2 && stop.abort()
  expect(await train({ ...call, signal: stop.signal, onStep })).toMatchObject({ step: 2, interrupted: true })
  expect(await readdir(out)).not.toContain('samples')
  const seen: unknown[] = []
  const follow = { onSampling: (grid: unknown) => seen.push(grid), onSampled: () => seen.push('sampled') }
  await train({ ...call, ...follow, resume: true })
  expect(seen).toEqual([{ step: 2, count: 1 }, 'sampled'])
  const file = join(out, 'samples/0000002.png')
  expect((await readFile(file)).subarray(1, 4).toString()).toBe('PNG')
  await writeFile(file, 'as it was')
  await train({ ...call, resume: true })
  expect(await readFile(file, 'utf8')).toBe('as it was')
})

test('that a grid is no longer being made is told where it cannot be written too', async () => {
  const [out, data] = [join(temporaryFolder(), 'run'), await tinyDataset(4)]
  const seen: unknown[] = []
  const follow = {
    onStep: ({ index }: { readonly index: number }) => index === 2 && writeFileSync(join(out, 'samples'), 'in the way'),
    onSampling: (grid: unknown) => seen.push(grid),
    onSampled: () => seen.push('sampled'),
  }
  await expect(train({ out, data, device: 'cpu', configuration: TWO_STEPS, ...follow })).rejects.toThrow('samples')
  expect(seen).toEqual([{ step: 2, count: 1 }, 'sampled'])
})

test('of captions, the first ones of images at even distances are shown, or the empty one', async () => {
  const captions = ['0', '1', '2', undefined, '4', '5'].map((name) => (name ? [name, `other of ${name}`] : []))
  using model = modelOf({ text: true })
  model.arena.array('ema')
  using captionEncoder = new TableCaptionEncoder()
  const shown: (readonly string[])[] = []
  const tokenize = captionEncoder.tokenize.bind(captionEncoder)
  captionEncoder.tokenize = (own) => {
    shown.push(own)
    return tokenize(own)
  }
  await writeSamples(
    { model, data: { captions, length: captions.length } as Partial<Dataset>, step: 1 } as Trainer,
    trainingSchema.parse({ samples: { count: 4, steps: 1, guidanceScale: 1 } }),
    temporaryFolder(),
    { image() {} } as Partial<MetricsLog> as MetricsLog,
    { signal: undefined, onNotice: undefined },
    { autoencoder: undefined, captionEncoder },
  )
  expect(shown.at(-1)).toEqual(['0', '1', '', '4'])
})

test('a model whose samples are not finite has no grid, and is trained on', async () => {
  const out = join(temporaryFolder(), 'run')
  const notices: string[] = []
  const { step } = await train({
    out,
    data: await tinyDataset(4),
    device: 'cpu',
    configuration: {
      model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
      batch: 2,
      steps: 2,
      sampleEvery: 1,
      learningRate: 1e38,
      emaDecay: 0,
      samples: { count: 1, steps: 1, guidanceScale: 1 },
    },
    onNotice: (sentence) => notices.push(sentence),
  })
  expect(step).toBe(2)
  expect(notices.filter((sentence) => sentence.startsWith('There is no grid'))).toEqual(
    [1, 2].map((step) =>
      expect.stringMatching(
        `^There is no grid of samples of step ${step}: Image 0 has a value that is (NaN|-?Infinity) when`,
      ),
    ),
  )
  expect(await readdir(out)).not.toContain('samples')
})

test.each([0, 0.5])('a guidanceScale of %d, which would guide nothing, is refused', (guidanceScale) => {
  expect(() => parseConfiguration(trainingSchema, { samples: { guidanceScale } }, 'the configuration')).toThrow(
    `samples.guidanceScale is ${guidanceScale}: expected 1, which is no guidance, or more.`,
  )
})
