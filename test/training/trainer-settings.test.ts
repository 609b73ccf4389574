/** What a program without types may ask a trainer for: refused in a sentence, for nothing but the results would show it. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { align, modelOf } from './tiny-trainer.ts'

type Wrong = readonly [wrong: Record<string, unknown>, message: string]

async function trainerOf(options: Record<string, unknown>): Promise<Trainer> {
  return new Trainer({ model: modelOf(), data: await Dataset.open(await tinyDataset()), batch: 2, ...options } as never)
}

describe('a trainer', () => {
  test.each<Wrong>([
    [{ batch: undefined }, 'batch is missing: expected number'],
    [{ batch: '2' }, 'batch is "2": expected number'],
    [{ model: {} }, 'model is {}: expected a SiT or a DiT'],
    [{ data: 'data/cifar' }, 'data is "data/cifar": expected a Dataset, as Dataset.open gives it'],
    [{ undecayed: [0, 4] }, 'there is no setting "undecayed".'],
    [{ late: [0, 4] }, 'there is no setting "late".'],
    [{ learning_rate: 1e-3 }, 'there is no setting "learning_rate"; did you mean "learningRate"?'],
    [{ seed: -1 }, 'seed is -1: expected number to be >=0'],
    [{ precision: 'float32' }, 'precision is "float32": expected one of "bf16"|"fp16"|"tf32"|"fp32"'],
    [{ recompute: 'all' }, 'recompute is "all": expected one of "none"|"elementwise"'],
    [{ path: 'straight' }, 'path is "straight": expected one of "linear"|"cosine"'],
    [{ align: 'hog' }, 'align is "hog": expected object'],
    [{ align: { encoder: 'hog' } }, 'align.encoder is "hog": expected an encoder as loadEncoder gives it'],
    [{ align: { ...align, loss: 'l2' } }, 'align.loss is "l2": expected one of "cosine"|"nt-xent"'],
    [{ align: { ...align, temperature: 0.2 } }, 'align.temperature is 0.2: expected none, as it is of NT-Xent'],
    [{ align: { ...align, weight: Number.NaN } }, 'align.weight is NaN: expected number'],
    [{ selfAlign: {} }, 'selfAlign.weight is missing'],
    [{ disperse: { weight: 1 } }, 'disperse.depth is missing'],
    [{ alignSchedule: { untli: 5 } }, 'there is no setting "untli" in alignSchedule; did you mean "until"?'],
    [{ learningRate: Number.NaN }, 'AdamW: learningRate is NaN; a number, not negative was expected.'],
    [{ learningRate: -1e-4 }, 'AdamW: learningRate is -0.0001; a number, not negative was expected.'],
    [{ learningRate: '1e-4' }, 'AdamW: learningRate is 1e-4; a number, not negative was expected.'],
    [{ betas: [0.9] }, 'AdamW: betas is 0.9; two numbers from 0 to below 1 was expected.'],
    [{ epsilon: 0 }, 'AdamW: epsilon is 0; a number above 0 was expected.'],
    [{ weightDecay: Number.POSITIVE_INFINITY }, 'AdamW: weightDecay is Infinity; a number, not negative was expected.'],
    [{ maxGradNorm: Number.NaN }, 'AdamW: maxGradNorm is NaN; a number above 0 was expected.'],
    [{ emaDecay: 1.5 }, 'AdamW: emaDecay is 1.5; a number from 0 to 1 was expected.'],
  ])('%j', async (wrong, message) => {
    await expect(trainerOf(wrong)).rejects.toThrow(message)
  })

  test('takes what is undefined as left out', async () => {
    await using trainer = await trainerOf({
      learningRate: undefined,
      betas: undefined,
      align: undefined,
      seed: undefined,
    })
    expect(trainer.optimizer.options).toMatchObject({ learningRate: 1e-4, betas: [0.9, 0.999] })
  })

  test.each([undefined, Number.NaN, '4', {}, 1.5, -1])('has no run of %j steps', async (steps) => {
    await using trainer = await trainerOf({})
    await expect(trainer.run({ steps: steps as number }).next()).rejects.toThrow(
      `run: steps is ${steps}; the number of steps in all was expected.`,
    )
  })

  test('is in one run at a time', async () => {
    await using trainer = await trainerOf({})
    const first = trainer.run({ steps: 9 })
    await first.next()
    await expect(trainer.run({ steps: 9 }).next()).rejects.toThrow('This trainer is in a run already')
    await first.return()
    const after = trainer.step
    for await (const { index } of trainer.run({ steps: after + 1 })) expect(index).toBe(after + 1)
  })

  test('saves no zeros for a model that was disposed of', async () => {
    await using trainer = await trainerOf({})
    for await (const _ of trainer.run({ steps: 1 })) trainer.model.dispose()
    await expect(trainer.save(temporaryFolder())).rejects.toThrow(
      'The model has been disposed of, its weights with it.',
    )
    await expect(trainerOf({ model: trainer.model, align })).rejects.toThrow('The model has been disposed of')
  })
})

test('a step of the optimizer by a wrong schedule changes nothing', async () => {
  using model = modelOf()
  using optimizer = new AdamW(model.arena)
  const before = await model.arena.array('weights').data()
  expect(() => optimizer.step(1, { learningRate: Number.NaN })).toThrow('AdamW: learningRate is NaN')
  expect(await model.arena.array('weights').data()).toEqual(before)
})
