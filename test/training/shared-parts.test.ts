/** Trainers, samplings and evaluations that share a model, an encoder, options or a folder: each does as alone, or is refused. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { type Batch, Loader } from '../../src/data/loader.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { SafetensorsFile } from '../../src/formats/safetensors.ts'
import { sampleToFolder, train } from '../../src/jobs.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { align, BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const TAKEN = 'the model has another optimizer since, of another Trainer or an AdamW, or other parameters, by align;'

test('a Trainer whose model another has taken, or was given other projectors, is refused', async () => {
  const data = await tinyDataset(2 * BATCH)
  const run = temporaryFolder()
  using model = modelOf()
  await using first = await tinyTrainer(model, data, { align })
  await steps(first, 2)
  const saved = await first.save(run)
  await using second = await tinyTrainer(model, data, { align })
  await expect(steps(first, 3)).rejects.toThrow(`A training step: ${TAKEN}`)
  await expect(first.save(run)).rejects.toThrow(`save: ${TAKEN}`)
  await expect(first.restore(saved)).rejects.toThrow(`restore: ${TAKEN}`)
  expect(() => first.optimizer.step()).toThrow(`A step of AdamW: ${TAKEN}`)
  // The newer goes on, from where the older one has saved.
  await second.restore(saved)
  await steps(second, 3)
  await using third = await tinyTrainer(model, data, { align: { ...align, projector: 'conv' } })
  await expect(steps(second, 4)).rejects.toThrow(`A training step: ${TAKEN}`)
  expect((await steps(third, 1)).length).toBe(1)
  using _optimizer = new AdamW(model.arena)
  await expect(steps(third, 2)).rejects.toThrow(`A training step: ${TAKEN}`)
})

test('a step that is made beside the runs shifts no data', async () => {
  const data = await tinyDataset(6 * BATCH)
  using whole = modelOf()
  await using unbroken = await tinyTrainer(whole, data, {})
  const expected = (await steps(unbroken, 6)).map(({ loss }) => loss)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, {})
  await steps(trainer, 2)
  const opened = await Dataset.open(data)
  const third = { batch: BATCH, seed: 0, flip: opened.flip, images: false, startStep: 2 }
  let samples: Batch | undefined
  for await (samples of new Loader(opened, third)) break
  await trainer.makeStep(samples!)
  // As the third step has the loader's third batch, it is that of the unbroken run, and so are those behind it.
  expect((await steps(trainer, 6)).map(({ loss }) => loss)).toEqual(expected.slice(3))
  for await (const _ of trainer.run({ steps: 7 })) {
    expect(() => trainer.makeStep(samples!)).toThrow('makeStep: this trainer is in a run, whose steps are of the data;')
  }
})

test('two Trainers that save to one checkpoint take turns, and the folder is whole', async () => {
  const data = await tinyDataset(2 * BATCH)
  const run = temporaryFolder()
  const [one, other] = [modelOf(), modelOf()]
  await using first = await tinyTrainer(one, data, {})
  await using second = await tinyTrainer(other, data, {})
  await Promise.all([steps(first, 1), steps(second, 1)])
  for (let i = 0; i < 5; i++) {
    const [path] = await Promise.all([first.save(run), second.save(run)])
    await using file = await SafetensorsFile.open(join(path, 'model.safetensors'))
    expect(file.tensors.size).toBeGreaterThan(10)
  }
  for (const model of [one, other]) model.dispose()
})

test('options that are changed for the next call are those of each', async () => {
  const data = await tinyDataset(2 * BATCH)
  const folder = temporaryFolder()
  const schedule = { warmup: 4 }
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, { learningRateSchedule: schedule })
  await steps(trainer, 1)
  schedule.warmup = 1000
  expect((await steps(trainer, 2)).map(({ learningRate }) => learningRate)).toEqual([expect.closeTo(1e-3 / 2, 12)])

  const options = { folder: '', count: 2, classes: [0], mode: 'ode', steps: 2, batch: 2, seed: 0 } as const
  const sampling = { ...options, folder: '', seed: 0, classes: [0] }
  const calls = [1, 2].map((seed) => {
    sampling.folder = join(folder, String(seed))
    sampling.seed = seed
    sampling.classes[0] = seed
    return sampleToFolder(model, sampling)
  })
  sampling.classes[0] = 9
  for (const [i, { folder: made, labels }] of (await Promise.all(calls)).entries()) {
    expect([made, labels]).toEqual([join(folder, String(i + 1)), [i + 1, i + 1]])
    expect(await readSamplingRecord(made)).toMatchObject({ sampling: { seed: i + 1, classes: [i + 1] } })
  }

  const training = { data, out: '', device: 'cpu', configuration: { steps: 1 } } as Parameters<typeof train>[0] & {
    out: string
  }
  const configuration = { model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 }, batch: 2, steps: 1 }
  const runs = [1, 2].map((count) => {
    configuration.steps = count
    Object.assign(training, { out: join(folder, `run-${count}`), configuration })
    return train(training)
  })
  configuration.steps = 50
  expect((await Promise.all(runs)).map(({ step }) => step)).toEqual([1, 2])
})

test('evaluations of the average that overlap leave the weights in place', async () => {
  const data = await tinyDataset(2 * BATCH)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, {})
  const before = await digestOf(trainer)
  const one = model.arena.useMeanwhile('ema')
  const other = model.arena.useMeanwhile('ema')
  one[Symbol.dispose]()
  expect(model.arena.role).toBe('ema')
  other[Symbol.dispose]()
  one[Symbol.dispose]()
  expect(model.arena.role).toBe('weights')
  await steps(trainer, 1)
  expect(await digestOf(trainer)).not.toBe(before)
})
