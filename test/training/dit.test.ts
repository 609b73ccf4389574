import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { DiT, type DiTOptions } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { transformerFromConfig } from '../../src/models/transformer-kinds.ts'
import type { ArenaRole } from '../../src/nn/parameter-arena.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { objectiveFor } from '../../src/training/objectives.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainingStep } from '../../src/training/trainer-options.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const SIZE = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [8, 8] as [number, number], classes: 10, projectorWidth: 16 }
const dit = (options: Partial<Omit<DiTOptions, 'kind'>> = {}) => DiT.create(SIZE, { ...OPTIONS, ...options })
const align = { encoder: constantEncoder, depth: 1, weight: 0.5 }
const ROLES: readonly ArenaRole[] = ['weights', 'ema', 'firstMoments', 'secondMoments']

async function arrays(model: DiT | SiT): Promise<Record<string, Float32Array>> {
  const data: Record<string, Float32Array> = {}
  for (const role of ROLES) data[role] = await model.arena.array(role).data()
  return data
}

async function steps(trainer: Trainer, until: number): Promise<TrainingStep[]> {
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps: until })) made.push(step)
  return made
}

describe.each([
  ['aligned', align],
  ['plain', undefined],
])('training a DiT, %s', (_, alignment) => {
  test('reports both losses, and a resumed run ends in the bits of the unbroken one', async () => {
    const data = await Dataset.open(await tinyDataset())
    const options = { data, align: alignment, batch: 2, learningRate: 1e-3 }
    using whole = dit()
    await using unbroken = new Trainer({ ...options, model: whole })
    const made = await steps(unbroken, 4)
    for (const { loss, denoising, vb, alignment: aligned } of made) {
      expect(vb).toBeGreaterThan(0)
      expect(loss).toBe(denoising + vb! + 0.5 * (aligned ?? 0))
      expect(aligned === undefined).toBe(alignment === undefined)
    }
    // At first it predicts 0, so that the error is the noise's.
    expect(made[0]!.denoising).toBeGreaterThan(0.7)
    expect(made[0]!.denoising).toBeLessThan(1.3)

    const folder = temporaryFolder()
    using half = dit()
    await using first = new Trainer({ ...options, model: half })
    await steps(first, 2)
    const saved = await first.save(folder)
    const state = await readCheckpointState(saved)
    expect(state).toMatchObject({ step: 2, model: { kind: 'DiT', learnSigma: true } })
    using again = transformerFromConfig(state.model, 'cpu')
    await using second = new Trainer({ ...options, model: again })
    await second.restore(saved)
    expect((await steps(second, 4)).map(({ loss, vb }) => [loss, vb])).toEqual(
      made.slice(2).map(({ loss, vb }) => [loss, vb]),
    )
    expect(await arrays(again)).toEqual(await arrays(whole))
  })
})

test('a DiT that learns no variance has no bound', async () => {
  const data = await Dataset.open(await tinyDataset())
  using model = dit({ learnSigma: false })
  await using trainer = new Trainer({ model, data, batch: 2 })
  const [step] = await steps(trainer, 1)
  expect(step).toMatchObject({ vb: undefined, loss: step!.denoising, finite: true })
})

test('a SiT with the original eight channels trains the first four', async () => {
  const data = await Dataset.open(await tinyDataset())
  using model = SiT.create(SIZE, { ...OPTIONS, learnSigma: true, convention: 'sit' })
  await using trainer = new Trainer({ model, data, batch: 2, learningRate: 1e-3 })
  expect((await steps(trainer, 2)).every(({ finite, vb }) => finite && vb === undefined)).toBe(true)
  const head = model.entries.find(({ name }) => name === 'final_layer.linear.weight')!
  using view = model.arena.view('weights', head)
  const rows = await view.data()
  const isTrained = Array.from({ length: 32 }, (_, row) => rows.subarray(row * 32, (row + 1) * 32).some((w) => w !== 0))
  expect(isTrained).toEqual(Array.from({ length: 32 }, (_, row) => row % 8 < 4))
})

test('a checkpoint of another kind, or of the other convention, is refused', async () => {
  const data = await Dataset.open(await tinyDataset())
  const folder = temporaryFolder()
  using model = SiT.create(SIZE, { ...OPTIONS, learnSigma: true })
  await using trainer = new Trainer({ model, data, batch: 2 })
  const saved = await trainer.save(folder)
  expect(saved).toBe(join(folder, 'checkpoints', '0000000'))
  using other = dit()
  await using of = new Trainer({ model: other, data, batch: 2 })
  await expect(of.restore(saved)).rejects.toThrow(`${saved} is of a SiT, this run's model is a DiT.`)
  using reversed = SiT.create(SIZE, { ...OPTIONS, learnSigma: true, convention: 'sit' })
  await using runner = new Trainer({ model: reversed, data, batch: 2 })
  await expect(runner.restore(saved)).rejects.toThrow(/whose time runs by the convention repa, this run's by sit\.$/)
})

test('the cosine of velocities is not for a DiT', () => {
  using model = dit()
  expect(() => objectiveFor(model, { velocityCosineWeight: 1 })).toThrow(
    'The cosine loss is of a velocity, and a DiT predicts noise; it is for SiT models.',
  )
})

test.each([
  [{ path: 'cosine' }, 'path cosine'],
  [{ weighting: 'lognormal' }, 'weighting lognormal'],
  [{ timeShift: 2 }, 'timeShift 2'],
] as const)('%o is not for a DiT', (settings, what) => {
  using model = dit()
  expect(() => objectiveFor(model, settings)).toThrow(
    `A DiT learns a fixed diffusion of 1000 steps: it has no ${what}, which is SiT's.`,
  )
})
