import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { encoderStatement } from '../../src/alignment/stated-encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { evaluateEncoderProbe } from '../../src/evaluation/encoder-probe.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { type PretrainEncoderOptions, pretrainEncoder } from '../../src/pretraining/run.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { MetricsLog } from '../../src/training/metrics.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { stripedDataset } from './striped-dataset.ts'

const TINY = { hidden: 24, depth: 2, heads: 3, batch: 8, seed: 3 } as const

describe('an encoder of one’s own', () => {
  test('learns, states itself, is aligned with under the name vit, and is probed', async () => {
    const data = stripedDataset({ count: 64 })
    const out = temporaryFolder()
    const losses: number[] = []
    const { encoder: file } = await pretrainEncoder({
      data,
      out,
      device: 'cpu',
      configuration: { ...TINY, batch: 32, steps: 300, learningRate: 5e-3 },
      onStep: ({ loss }) => void losses.push(loss),
    })
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
    // A patch of normalised pixels of which nothing is known has a mean square of about 1.
    expect(mean(losses.slice(-10))).toBeLessThan(0.9 * mean(losses.slice(5, 15)))

    const opened = await SafetensorsFile.open(file!)
    const statement = encoderStatement(file!, opened.metadata)
    await opened.close()
    expect(statement).toMatchObject({
      method: 'mae',
      model: { imageSize: 16, patch: 2, hidden: 24, depth: 2, heads: 3 },
      training: { data, steps: 300, batch: 32 },
    })
    using encoder = await loadEncoder('vit', file!)
    expect(encoder).toMatchObject({ name: 'vit', width: 24, grid: [8, 8] })
    const features = scope(() => encoder.features(Tensor.from(new Uint8Array(768), [1, 3, 16, 16], 'cpu'), [8, 8]))
    expect(features.shape).toEqual([1, 64, 24])
    features.dispose()

    const set = await Dataset.open(data)
    // What all images have in common is no part of a feature, and no channel is louder than another.
    const bytes = new Uint8Array(64 * set.imageLength)
    for (let i = 0; i < 64; i++) await set.readInto(i, { image: bytes.subarray(i * 768, (i + 1) * 768) })
    const seen = scope(() => encoder.features(Tensor.from(bytes, [64, 3, 16, 16], 'cpu'), [8, 8]))
    const values = await seen.data()
    seen.dispose()
    const places = Array.from({ length: 64 * 24 }, (_, j) =>
      mean(Array.from({ length: 64 }, (_, i) => values[i * 1536 + j]!)),
    )
    expect(Math.max(...places.map(Math.abs))).toBeLessThan(1e-5)
    for (let channel = 0; channel < 24; channel++) {
      const squares = Array.from({ length: 64 * 64 }, (_, i) => values[i * 24 + channel]! ** 2)
      expect(mean(squares)).toBeCloseTo(1, 4)
    }

    const probe = { encoder, data: set, seed: 1, batch: 16, device: 'cpu', schedule: { batch: 16, learningRate: 0.03 } }
    const { accuracy, testImages, grid } = await evaluateEncoderProbe(probe)
    expect({ testImages, grid }).toEqual({ testImages: 13, grid: [8, 8] })
    expect(accuracy).toBeGreaterThan(0.6)
  })

  test('of weights that state nothing is refused, and so is none', async () => {
    const file = join(temporaryFolder(), 'bare.safetensors')
    await writeSafetensors(file, [{ name: 'cls_token', dtype: 'f32', shape: [1], data: async () => new Uint8Array(4) }])
    await expect(loadEncoder('vit', file)).rejects.toThrow(
      `${file} does not say what encoder it holds: the encoder vit needs a file that repa pretrain-encoder wrote.`,
    )
    const { encoder } = await pretrainEncoder({
      data: stripedDataset({ count: 8 }),
      out: temporaryFolder(),
      device: 'cpu',
      configuration: { ...TINY, steps: 1 },
    })
    await using whole = await SafetensorsFile.open(encoder!)
    const weights = [...whole.tensors].filter(([name]) => name !== 'average_features')
    const tensors = await Promise.all(weights.map(async ([name]) => ({ name, ...(await whole.read(name)) })))
    const old = join(temporaryFolder(), 'old.safetensors')
    await writeSafetensors(old, tensors, { metadata: { encoder: whole.metadata.encoder! } })
    await expect(loadEncoder('vit', old)).rejects.toThrow(
      `${old} has no average_features; write it anew: resume the pretraining that it is of.`,
    )
    await expect(loadEncoder('vit')).rejects.toThrow('vit=RUN/encoder.safetensors')
  })
})

test.each(['mae', 'dino'] as const)(
  'where memory does not do for the moments of %s, nothing is left',
  async (method) => {
    const data = stripedDataset({ count: 8 })
    const before = memoryStats('cpu').liveBytes
    const { array } = ParameterArena.prototype
    const spy = vi.spyOn(ParameterArena.prototype, 'array').mockImplementation(function (this: ParameterArena, role) {
      if (role === 'secondMoments') throw new Error('no memory')
      return array.call(this, role)
    })
    const run = pretrainEncoder({
      data,
      out: temporaryFolder(),
      device: 'cpu',
      configuration: { ...TINY, method, steps: 1 },
    })
    await expect(run).rejects.toThrow('no memory')
    spy.mockRestore()
    expect(memoryStats('cpu').liveBytes).toBe(before)
  },
)

test('where the log cannot be written at the end of a segment, its steps are saved', async () => {
  const out = temporaryFolder()
  const flush = vi.spyOn(MetricsLog.prototype, 'flush').mockRejectedValueOnce(new Error('the disk is full'))
  const notices: string[] = []
  const run = pretrainEncoder({
    data: stripedDataset({ count: 8 }),
    out,
    device: 'cpu',
    configuration: { ...TINY, steps: 2 },
    onNotice: (sentence) => void notices.push(sentence),
  })
  await expect(run).rejects.toThrow('the disk is full')
  flush.mockRestore()
  expect(readdirSync(join(out, 'checkpoints'))).toEqual(['0000002'])
  expect(notices).toEqual([expect.stringContaining('The steps until the failure are saved')])
})

test('a run that is stopped behind its last step says where it is, and a resumed one writes the encoder', async () => {
  const [out, controller] = [temporaryFolder(), new AbortController()]
  const options = { data: stripedDataset({ count: 8 }), out, device: 'cpu', configuration: { ...TINY, steps: 2 } }
  const stopped = await pretrainEncoder({
    ...options,
    signal: controller.signal,
    onStep: ({ index }) => index === 2 && controller.abort(),
  })
  expect(stopped).toMatchObject({ step: 2, encoder: undefined })
  const { encoder } = await pretrainEncoder({ ...options, configuration: {}, resume: true })
  expect(existsSync(encoder!)).toBe(true)
})

test('a run that goes on may save more often, and keeps that', async () => {
  const [data, out, controller] = [stripedDataset({ count: 8 }), temporaryFolder(), new AbortController()]
  const options = { data, out, device: 'cpu' }
  const configuration = { ...TINY, steps: 6, checkpointEvery: 6 }
  const { step } = await pretrainEncoder({
    ...options,
    configuration,
    signal: controller.signal,
    onStep: () => controller.abort(),
  })
  await pretrainEncoder({ ...options, configuration: { checkpointEvery: 1 }, resume: true })
  const checkpoints = Array.from({ length: 7 - step }, (_, i) => `000000${step + i}`)
  expect(readdirSync(join(out, 'checkpoints')).sort()).toEqual(checkpoints)
  const stored = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))
  expect(stored.pretraining).toMatchObject({ ...configuration, checkpointEvery: 1 })
})

describe('what a run refuses', () => {
  const REFUSALS: readonly { what: string; change: Partial<PretrainEncoderOptions>; message: string }[] = [
    { what: 'a folder that holds one', change: {}, message: 'already holds a run; go on with it by `resume`' },
    {
      what: 'another number of steps',
      change: { resume: true, configuration: { steps: 9 } },
      message: 'has `steps` 2; a resumed run cannot change it to 9, for its learning rate falls to 0 at the last step',
    },
    {
      what: 'another width',
      change: { resume: true, configuration: { hidden: 48 } },
      message: 'has `hidden` 24; a resumed run cannot change it to 48',
    },
  ]
  test.each(REFUSALS)('$what', async ({ change, message }) => {
    const [data, out] = [stripedDataset({ count: 8 }), temporaryFolder()]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 2 } }
    await pretrainEncoder(options)
    await expect(pretrainEncoder({ ...options, ...change })).rejects.toThrow(message)
  })

  test('other images than it began with, while those are there', async () => {
    const [data, other, out] = [stripedDataset({ count: 8 }), stripedDataset({ count: 8 }), temporaryFolder()]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 1 } }
    await pretrainEncoder(options)
    await expect(pretrainEncoder({ ...options, data: other, configuration: {}, resume: true })).rejects.toThrow(
      `The run in ${out} trains on ${data}, not on ${other}; resume it with \`data\` ${data}.`,
    )
  })

  test('to resume what has not begun', async () => {
    const [data, out] = [stripedDataset({ count: 8 }), join(temporaryFolder(), 'none')]
    await expect(pretrainEncoder({ data, out, device: 'cpu', configuration: {}, resume: true })).rejects.toThrow(
      `${out} holds no run to resume: it has no config.json. Leave out \`resume\` to begin one.`,
    )
  })

  test.each([false, true])('a folder that holds checkpoints without a config.json, resume %s', async (resume) => {
    const [data, out] = [stripedDataset({ count: 8 }), temporaryFolder()]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 1 } } as const
    await pretrainEncoder(options)
    rmSync(join(out, 'config.json'))
    await expect(pretrainEncoder({ ...options, resume })).rejects.toThrow(
      `${out} holds checkpoints already; restore the config.json of their run and go on by \`resume\`, or choose another \`out\`.`,
    )
  })

  test('images for which no patch is usual', async () => {
    const [data, out] = [stripedDataset({ count: 8, size: 18 }), temporaryFolder()]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 1 } }
    await expect(pretrainEncoder(options)).rejects.toThrow('have 18 pixels, which gives no usual patch; say `patch`')
  })

  // A folder that holds a run cannot be given again, nor can the run go on with another batch or patch.
  test.each([
    {
      what: 'a batch of more images than there are',
      change: { batch: 9 },
      message: 'A batch of 9 is more than the 8 images',
    },
    {
      what: 'a patch as large as the image',
      change: { patch: 16 },
      message:
        'Of 1 patches a mask of 0.75 leaves 0 visible and 1 masked; at least one of each is needed: take smaller patches.',
    },
  ])('$what, before anything is written', async ({ change, message }) => {
    const [data, out] = [stripedDataset({ count: 8 }), join(temporaryFolder(), 'run')]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 1, ...change } } as const
    await expect(pretrainEncoder(options)).rejects.toThrow(message)
    expect(existsSync(out)).toBe(false)
  })

  test('to write an encoder whose features are not finite', async () => {
    const [data, out] = [stripedDataset({ count: 8 }), temporaryFolder()]
    const options = { data, out, device: 'cpu', configuration: { ...TINY, steps: 3, learningRate: 1e30 } } as const
    await expect(pretrainEncoder(options)).rejects.toThrow(
      'The features of the trained encoder are not all finite numbers: the training has diverged; begin again with a lower learning rate.',
    )
    expect(existsSync(join(out, 'encoder.safetensors'))).toBe(false)
  })
})
