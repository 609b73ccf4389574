/** A step in several passes over its batch. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import type { ArenaRole } from '../../src/nn/parameter-arena.ts'
import { requireIndependentPasses } from '../../src/training/requirements.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { constantEncoder, tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'
import { LAMBDA } from '../tensor/rounding.ts'

const BATCH = 4
const SIZE = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [8, 8] as [number, number], classes: 10, projectorWidth: 16 }
const align = { encoder: constantEncoder, depth: 1, weight: 0.5 }

interface Case {
  readonly name: string
  readonly kind?: 'DiT'
  readonly options?: Partial<TrainerOptions>
}

const CASES: readonly Case[] = [
  { name: 'SiT', options: {} },
  { name: 'SiT with REPA', options: { align } },
  {
    name: 'SiT with self-alignment',
    options: { selfAlign: { weight: 1, depth: 1, teacherDepth: 2, timeOffset: 0.2 } },
  },
  { name: 'DiT with REPA', kind: 'DiT', options: { align } },
]

function modelOf(kind?: 'DiT'): AnyTransformer {
  const model = kind === 'DiT' ? DiT.create(SIZE, OPTIONS) : SiT.create(SIZE, OPTIONS)
  // The adaLN-zero start makes every block the identity: no gradient would reach them.
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
  return model
}

async function trainerOf(model: AnyTransformer, options: Partial<TrainerOptions>): Promise<Trainer> {
  const data = await Dataset.open(await tinyDataset(2 * BATCH))
  return new Trainer({ model, data, batch: BATCH, learningRate: 1e-3, ...options })
}

async function steps(trainer: Trainer, until: number): Promise<TrainingStep[]> {
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps: until })) made.push(step)
  return made
}

/** What one step reports, and the gradient of the batch's mean. */
async function firstStep({ kind, options }: Case, accumulate: number) {
  using model = modelOf(kind)
  await using trainer = await trainerOf(model, { ...options, accumulate })
  const [step] = await steps(trainer, 1)
  const gradients = await model.arena.array('gradients').data()
  return { step: step!, gradients: gradients.map((value) => value / accumulate) }
}

/**
 * The longest way through roundings: the sums of a block's products (4 · 32 terms at most), forward and backward, through two blocks, the
 * projector and the head, and those over the samples' tokens. Both sides are off by so many.
 */
const ROUNDINGS = 2 * 4 * (4 * SIZE.hidden) + BATCH * 16
const TOLERANCE = 2 * LAMBDA * Math.sqrt(ROUNDINGS) * 2 ** -24
const norm = (values: Float32Array) => Math.hypot(...values)

describe.each(CASES)('a step of $name', (table) => {
  test.each([2, 4])('in %d passes is the step of the whole batch, up to rounding', async (accumulate) => {
    const whole = await firstStep(table, 1)
    const parts = await firstStep(table, accumulate)
    for (const name of ['loss', 'denoising', 'vb', 'alignment', 'selfAlignment', 'gradNorm'] as const) {
      const [expected, value] = [whole.step[name], parts.step[name]]
      expect([name, value === undefined]).toEqual([name, expected === undefined])
      if (expected !== undefined) expect(Math.abs(value! / expected - 1), name).toBeLessThan(TOLERANCE)
    }
    const difference = parts.gradients.map((value, i) => value - whole.gradients[i]!)
    expect(norm(difference)).toBeLessThan(TOLERANCE * norm(whole.gradients))
    expect(norm(difference)).toBeGreaterThan(0)
  })
})

const ROLES: readonly ArenaRole[] = ['weights', 'ema', 'firstMoments', 'secondMoments']

async function arrays({ arena }: AnyTransformer): Promise<Float32Array[]> {
  return Promise.all(ROLES.map((role) => arena.array(role).data()))
}

test('a resumed run in passes ends in the bits of the unbroken one', async () => {
  const options = { align, accumulate: 2 }
  using whole = modelOf()
  await using unbroken = await trainerOf(whole, options)
  const made = await steps(unbroken, 4)
  const folder = temporaryFolder()
  using half = modelOf()
  await using first = await trainerOf(half, options)
  await steps(first, 2)
  const saved = await first.save(folder)
  using again = modelOf()
  await using second = await trainerOf(again, options)
  await second.restore(saved)
  expect((await steps(second, 4)).map(({ loss }) => loss)).toEqual(made.slice(2).map(({ loss }) => loss))
  expect(await arrays(again)).toEqual(await arrays(whole))
})

test('with a loss scale, and with what is computed again, the bits are the same', async () => {
  const train = async (options: Partial<TrainerOptions>) => {
    using model = modelOf()
    await using trainer = await trainerOf(model, { align, accumulate: 2, ...options })
    const losses = (await steps(trainer, 3)).map(({ loss, gradNorm }) => [loss, gradNorm])
    return { losses, arrays: await arrays(model) }
  }
  const plain = await train({})
  expect(await train({ lossScale: 65536 })).toEqual(plain)
  expect(await train({ recompute: 'elementwise' })).toEqual(plain)
})

test.each<readonly [Partial<TrainerOptions>, string]>([
  [{ accumulate: 3 }, 'A batch of 4 cannot be cut into 3 equal passes; let accumulate be a divisor of the batch.'],
  [{ accumulate: 0 }, 'A batch of 4 cannot be cut into 0 equal passes'],
  [{ accumulate: 1.5 }, 'A batch of 4 cannot be cut into 1.5 equal passes'],
  [
    { accumulate: 2, disperse: { weight: 1, temperature: 0.5, depth: 1 } },
    'The dispersive loss is of all samples of a batch at once, and accumulate 2 shows it 2 of 4; leave one of the two out.',
  ],
  [
    { accumulate: 2, align: { ...align, loss: 'nt-xent' } },
    'NT-Xent contrasts groups of 256 images, and accumulate 2 makes passes of 2, which cuts groups; let a pass be a multiple of 256 images.',
  ],
])('%j is refused', async (options, message) => {
  using model = modelOf()
  await expect(trainerOf(model, options)).rejects.toThrow(message)
})

test('NT-Xent in passes of whole groups is let through: it sees what it sees in the whole batch', () => {
  const ntXent = { align: { ...align, loss: 'nt-xent' } as const, batch: 64 }
  const model = { tokens: 256 } as AnyTransformer
  expect(() => requireIndependentPasses(model, { ...ntXent, accumulate: 4 })).not.toThrow()
  expect(() => requireIndependentPasses(model, { ...ntXent, accumulate: 8 })).toThrow('groups of 16 images')
})
