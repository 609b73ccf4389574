/** The averaged model (EMA) beside training: what runs it meanwhile leaves the weights in place, and no step is made of it. */
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { sampleImages } from '../../src/diffusion/sample-images.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const refused = (what: string) =>
  `${what}: the model's parameters are its ema, by arena.use('ema'), and training is of its weights; call arena.use('weights') first, or ` +
  'let arena.useMeanwhile see to it.'

test('a step of the optimizer is refused while the parameters are the average, and changes nothing', async () => {
  using model = modelOf()
  using optimizer = new AdamW(model.arena)
  const before = await model.arena.array('weights').data()
  model.arena.use('ema')
  expect(() => optimizer.step()).toThrow(refused('A step of AdamW'))
  model.arena.use('weights')
  expect((await optimizer.state()).updates).toBe(0)
  expect(await model.arena.array('weights').data()).toEqual(before)
})

test('a run refuses its next step, and goes on to the bit once the parameters are the weights', async () => {
  const data = await tinyDataset(2 * BATCH)
  using whole = modelOf()
  await using unbroken = await tinyTrainer(whole, data, {})
  await steps(unbroken, 6)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, {})
  await steps(trainer, 3)
  model.arena.use('ema')
  await expect(steps(trainer, 6)).rejects.toThrow(refused('A training step'))
  expect(trainer.step).toBe(3)
  model.arena.use('weights')
  await steps(trainer, 6)
  expect(await digestOf(trainer)).toBe(await digestOf(unbroken))
})

test('sampling that fails under useMeanwhile leaves the weights in place', async () => {
  using model = modelOf()
  using _optimizer = new AdamW(model.arena)
  const sample = async () => {
    using _average = model.arena.useMeanwhile('ema')
    expect(model.arena.role).toBe('ema')
    const onProgress = () => {
      throw new Error('mine')
    }
    const options = { mode: 'ode', steps: 2, batch: 2, seed: 0, labels: Int32Array.of(1, 2), onProgress } as const
    for await (const _ of sampleImages(model, options));
  }
  await expect(sample()).rejects.toThrow('mine')
  expect(model.arena.role).toBe('weights')
})

test('an optimizer that is made while the parameters are the average has given them other values', () => {
  using model = modelOf()
  model.arena.array('ema')
  const { version } = model.arena
  using _average = model.arena.useMeanwhile('ema')
  const before = model.arena.version
  using _optimizer = new AdamW(model.arena)
  expect(new Set([version, before, model.arena.version]).size).toBe(3)
})

test('useMeanwhile within another leaves what it found', () => {
  using model = modelOf()
  model.arena.array('ema')
  {
    using _outer = model.arena.useMeanwhile('ema')
    {
      using _inner = model.arena.useMeanwhile('weights')
      expect(model.arena.role).toBe('weights')
    }
    expect(model.arena.role).toBe('ema')
  }
  expect(model.arena.role).toBe('weights')
})

test.each(['ema', 'model'] as const)(
  'a model that is loaded with its weights "%s" trains on from these',
  async (weights) => {
    const data = await tinyDataset(2 * BATCH)
    using model = modelOf()
    await using trainer = await tinyTrainer(model, data, { emaDecay: 0.5 })
    await steps(trainer, 3)
    const checkpoint = await trainer.save(temporaryFolder())
    const [first, other] = weights === 'ema' ? (['ema', 'weights'] as const) : (['weights', 'ema'] as const)
    const wanted = await model.arena.array(first).data()
    expect(wanted).not.toEqual(await model.arena.array(other).data())
    const { model: loaded } = await loadModel(checkpoint, { weights })
    try {
      expect(loaded.arena.role).toBe('weights')
      await using further = new Trainer({ model: loaded, data: await Dataset.open(data), batch: BATCH })
      expect(await loaded.arena.array('weights').data()).toEqual(wanted)
      expect(await loaded.arena.array('ema').data()).toEqual(wanted)
      expect((await steps(further, 1)).map(({ finite }) => finite)).toEqual([true])
    } finally {
      loaded.dispose()
    }
  },
)
