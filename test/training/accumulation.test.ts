/** A step in several passes over its batch. */
import { describe, expect, test } from 'vitest'
import type { World } from '../../src/distributed/world.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import type { ArenaRole } from '../../src/nn/parameter-arena.ts'
import { requireIndependentPasses } from '../../src/training/requirements.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { expectSameStep } from './same-step.ts'
import { align, BATCH, CASES, type Case, makeFirstStep, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const trainerOf = async (model: AnyTransformer, options: Partial<TrainerOptions>) =>
  tinyTrainer(model, await captionedDataset(2 * BATCH), options)

const firstStep = async (table: Case, accumulate: number) =>
  makeFirstStep(table, await captionedDataset(2 * BATCH), { accumulate })

describe.each(CASES)('a step of $name', (table) => {
  test.each([2, 4])('in %d passes is the step of the whole batch, up to rounding', async (accumulate) => {
    const whole = await firstStep(table, 1)
    const parts = await firstStep(table, accumulate)
    expectSameStep(parts, whole)
    expect(parts.gradients).not.toEqual(whole.gradients)
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
    'The dispersive loss is of all samples of a batch at once, and accumulate 2 would show it 2 of 4; leave one of the two out.',
  ],
  [
    { accumulate: 2, align: { ...align, loss: 'nt-xent' } },
    'NT-Xent contrasts groups of 256 images, and accumulate 2 would make passes of 2, which cuts groups; let a pass be a multiple of 256 images.',
  ],
])('%j is refused', async (options, message) => {
  using model = modelOf()
  await expect(trainerOf(model, options)).rejects.toThrow(message)
})

test('NT-Xent in passes of whole groups is let through: it sees what it sees in the whole batch', () => {
  const ntXent = { align: { ...align, loss: 'nt-xent' } as const, batch: 64 }
  const model = { sequenceTokens: 256 } as AnyTransformer
  expect(() => requireIndependentPasses(model, { ...ntXent, accumulate: 4 })).not.toThrow()
  expect(() => requireIndependentPasses(model, { ...ntXent, accumulate: 8 })).toThrow('groups of 16 images')
})

describe('of several processes, each of which has its part of a batch', () => {
  const model = { sequenceTokens: 256 } as AnyTransformer
  const shared = (processes: number, options: Partial<Parameters<typeof requireIndependentPasses>[1]>) =>
    requireIndependentPasses(model, { batch: 64, world: { size: processes } as World, ...options })
  const ntXent = { ...align, loss: 'nt-xent' } as const

  test.each<readonly [number, Parameters<typeof shared>[1], string]>([
    [
      2,
      { disperse: { weight: 1, temperature: 0.5, depth: 1 } },
      'The dispersive loss is of all samples of a batch at once, and 2 processes would show it 32 of 64; leave one of the two out.',
    ],
    [
      8,
      { align: ntXent },
      'NT-Xent contrasts groups of 16 images, and 8 processes would make passes of 8, which cuts groups; let a pass be a multiple of 16 images.',
    ],
    [
      8,
      { batch: 8, accumulate: 2 },
      'A batch of 8 cannot be cut into equal passes by 8 processes and accumulate 2; take a multiple of 16.',
    ],
  ])('%d with %j are refused', (processes, options, message) => {
    expect(() => shared(processes, options)).toThrow(message)
  })

  test('whole groups of NT-Xent are let through', () => {
    expect(() => shared(2, { align: ntXent, accumulate: 2 })).not.toThrow()
  })
})
