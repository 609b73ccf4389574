/** Schedules of the learning rate: their values, that a training follows them and goes on in them, and what is none. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import {
  type LearningRateSchedule,
  learningRateAt,
  requireLearningRateSchedule,
} from '../../src/training/learning-rate.ts'
import { train } from '../../src/training/run.ts'
import { checkpointName } from '../../src/training/run-layout.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { trainerSettings } from '../../src/training/trainer-settings.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { readEvents } from '../formats/tensorboard-reader.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

/** The rates of steps 0, 1, 2 and so on where the whole one is 8. */
const VALUES: { name: string; schedule: LearningRateSchedule; rates: number[] }[] = [
  { name: 'none', schedule: {}, rates: [8, 8, 8] },
  { name: 'a warm-up', schedule: { warmup: 4 }, rates: [2, 4, 6, 8, 8, 8] },
  { name: 'a line', schedule: { decay: 'linear', until: 4 }, rates: [8, 6, 4, 2, 0, 0] },
  { name: 'a line from and to', schedule: { decay: 'linear', from: 2, until: 4, final: 2 }, rates: [8, 8, 8, 5, 2, 2] },
  { name: 'a half cosine', schedule: { decay: 'cosine', until: 2, final: 4 }, rates: [8, 6, 4, 4] },
  {
    name: 'a warm-up and a half cosine behind it',
    schedule: { warmup: 2, decay: 'cosine', until: 6 },
    rates: [4, 8, 8, 4 + 2 * Math.SQRT2, 4, 4 - 2 * Math.SQRT2, 0, 0],
  },
]

test.each(VALUES)('$name', ({ schedule, rates }) => {
  for (const [step, rate] of rates.entries()) expect(learningRateAt(step, 8, schedule)).toBeCloseTo(rate, 12)
})

const WARMUP = { learningRate: 2e-3, learningRateSchedule: { warmup: 2, decay: 'linear', until: 4 } } as const

describe('a training', () => {
  test.each([1, 2])(
    'follows it with the bits of steps of these rates, and goes on in it; passes: %d',
    async (accumulate) => {
      const data = await tinyDataset(2 * BATCH)
      const run = temporaryFolder()
      /** Goes on up to step `until`, in `run`; gives the last step's rate and what it leaves. */
      const to = async (until: number, options: Partial<TrainerOptions>, goesOn = false) => {
        using model = modelOf()
        await using trainer = await tinyTrainer(model, data, { accumulate, ...options })
        if (goesOn) await trainer.restore(checkpointOf(until - 1))
        const made = await steps(trainer, until)
        await trainer.save(run)
        return { rates: made.map(({ learningRate }) => learningRate), digest: await digestOf(trainer) }
      }
      const checkpointOf = (step: number) => join(run, 'checkpoints', checkpointName(step))
      const first = await to(1, { learningRate: 1e-3 })
      expect(await to(1, WARMUP)).toEqual(first)
      const second = await to(2, { learningRate: 2e-3 }, true)
      const scheduled = await to(2, WARMUP)
      expect(scheduled).toEqual({ digest: second.digest, rates: [1e-3, 2e-3] })
      // From the end of the warm-up on it falls: whole once more, then half.
      await to(3, WARMUP, true)
      const fourth = await to(4, WARMUP, true)
      expect(fourth.rates).toEqual([1e-3])
      expect((await to(4, WARMUP)).digest).toBe(fourth.digest)
    },
  )

  test('of a rate of 0 moves no weight', async () => {
    using model = modelOf()
    const before = await model.arena.array('weights').data()
    const schedule = { decay: 'linear', from: 0, until: 1 } as const
    await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), { learningRateSchedule: schedule })
    await steps(trainer, 1)
    const moved = await model.arena.array('weights').data()
    expect(moved).not.toEqual(before)
    await steps(trainer, 3)
    expect(await model.arena.array('weights').data()).toEqual(moved)
  })

  test.each<LearningRateSchedule>([
    {},
    { warmup: 2 },
    { decay: 'linear', until: 2 },
    { warmup: 1, decay: 'cosine', until: 2 },
  ])('whose whole rate is 0 moves none, by whichever schedule: %j', async (learningRateSchedule) => {
    using model = modelOf()
    const before = await model.arena.array('weights').data()
    const options = { learningRate: 0, learningRateSchedule }
    await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), options)
    const made = await steps(trainer, 3)
    expect(made.map(({ learningRate, finite }) => [learningRate, finite])).toEqual(Array(3).fill([0, true]))
    expect(await model.arena.array('weights').data()).toEqual(before)
  })
})

test("a run logs each step's, in metrics.jsonl and for TensorBoard", async () => {
  const out = join(temporaryFolder(), 'run')
  await train({
    out,
    data: await tinyDataset(2 * BATCH),
    device: 'cpu',
    configuration: {
      model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 2 },
      batch: BATCH,
      steps: 3,
      learningRate: 1e-3,
      learningRateWarmup: 2,
      learningRateDecay: 'linear',
      learningRateDecayUntil: 4,
      learningRateFinal: 5e-4,
      samples: { count: 1, steps: 1 },
    },
  })
  const rates = [5e-4, 1e-3, 1e-3]
  const lines = (await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n')
  expect(lines.map((line) => JSON.parse(line).lr)).toEqual(rates)
  const [events] = (await readdir(out)).filter((name) => name.startsWith('events.out.tfevents.'))
  const drawn: number[] = []
  for await (const { values } of readEvents(join(out, events!))) {
    for (const value of values) {
      if (value.kind === 'scalar' && value.tag === 'optimizer/learning_rate') drawn.push(value.value)
    }
  }
  expect(drawn).toEqual(rates.map(Math.fround))
})

test('a configuration hands it to its trainer, and none where the rate is always the same', () => {
  const settings = (given: object) => trainerSettings(trainingSchema.parse(given)).learningRateSchedule
  expect(settings({})).toBeUndefined()
  const given = { learningRateWarmup: 5, learningRateDecay: 'cosine', learningRateDecayUntil: 9 }
  expect(settings({ ...given, learningRateDecayFrom: 7, learningRateFinal: 1e-5 })).toEqual({
    warmup: 5,
    decay: 'cosine',
    from: 7,
    until: 9,
    final: 1e-5,
  })
})

test('it may end where it begins, as a schedule that is varied does at one end', () => {
  expect(() => requireLearningRateSchedule(1e-4, { decay: 'linear', until: 5, final: 1e-4 })).not.toThrow()
})

test.each<[LearningRateSchedule, string]>([
  [{ final: 0 }, 'Where and at what a decay of the learning rate ends is given, and it does not decay'],
  [{ until: 9, decay: 'none' }, 'Where and at what a decay of the learning rate ends is given'],
  [
    { decay: 'linear' },
    'A linear decay of the learning rate needs the step at which it ends; give `learningRateDecayUntil`.',
  ],
  [{ warmup: 5, decay: 'cosine', from: 4, until: 9 }, 'cannot fall from step 4 on while it rises up to step 5'],
  [
    { warmup: 5, decay: 'cosine', until: 5 },
    'cannot fall from step 5 until step 5; let `learningRateDecayUntil` be later.',
  ],
  [
    { decay: 'cosine', until: 5, final: 1 },
    'cannot fall from 0.0001 to 1; let `learningRateFinal` be less than `learningRate`.',
  ],
  [{ warmup: 0.5 }, 'learningRateSchedule.warmup is 0.5'],
  [{ wramup: 5 } as object, 'there is no setting "wramup" in learningRateSchedule; did you mean "warmup"?'],
])('%j is no schedule', async (learningRateSchedule, message) => {
  const data = await Dataset.open(await tinyDataset())
  expect(() => new Trainer({ model: modelOf(), data, batch: 2, learningRateSchedule })).toThrow(message)
})
