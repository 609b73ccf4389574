/** A trainer that is refused: what it was given is as it was, and what it had made is freed. */
import { afterEach, expect, test, vi } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { ParameterArena } from '../../src/nn/parameter-arena.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { align, modelOf } from './tiny-trainer.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const liveBytes = () => memoryStats('cpu').liveBytes
const selfAlign = { weight: 1, depth: 1, teacherDepth: 2, timeOffset: 0.2 }

test.each<readonly [kind: 'SiT' | 'DiT', wrong: Partial<TrainerOptions>, message: string]>([
  ['SiT', { emaDecay: 1.5 }, 'AdamW: emaDecay is 1.5'],
  ['DiT', { emaDecay: 1.5 }, 'AdamW: emaDecay is 1.5'],
  ['DiT', { lossScale: -1 }, 'AdamW: lossScale is -1'],
  ['DiT', { learningRateSchedule: { decay: 'linear' } }, 'A linear decay of the learning rate needs the step'],
  ['DiT', { path: 'cosine' }, 'it has no path cosine'],
  ['DiT', { velocityCosineWeight: 1 }, 'The cosine loss is of a velocity'],
  ['DiT', { selfAlign }, 'Self-alignment needs times between steps'],
  ['DiT', { contrast: { weight: 0.05 } }, 'Contrastive flow matching contrasts velocities'],
  ['DiT', { align: { ...align, depth: 3 } }, 'block 3 does not exist in a model of 2 blocks'],
])('a %s is as it was before a trainer with %j', async (kind, wrong, message) => {
  using model = modelOf(kind === 'DiT' ? { kind } : {})
  const data = await Dataset.open(await tinyDataset())
  const [before, { config, arena }] = [liveBytes(), model]
  expect(() => new Trainer({ model, data, batch: 2, align, ...wrong })).toThrow(message)
  expect(model.config.alignWidths).toEqual([])
  expect(model.config).toBe(config)
  expect(model.arena).toBe(arena)
  expect(liveBytes()).toBe(before)
})

test('where an encoder cannot compute as it should, nothing is left but the model', async () => {
  const data = await Dataset.open(await tinyDataset())
  const before = liveBytes()
  const model = modelOf({ kind: 'DiT' })
  const encoder = {
    ...align.encoder,
    computeIn() {
      throw new Error('no such dtype here')
    },
  }
  expect(() => new Trainer({ model, data, batch: 2, align: { ...align, encoder } })).toThrow('no such dtype here')
  model.dispose()
  expect(liveBytes()).toBe(before)
})

test.each(['gradients', 'firstMoments', 'secondMoments', 'ema'] as const)(
  'where memory does not do for the %s, nothing is left but the model',
  async (missing) => {
    const data = await Dataset.open(await tinyDataset())
    const before = liveBytes()
    const model = modelOf({ kind: 'DiT' })
    const { array } = ParameterArena.prototype
    vi.spyOn(ParameterArena.prototype, 'array').mockImplementation(function (this: ParameterArena, role) {
      if (role === missing) throw new Error(`no memory for the ${role}`)
      return array.call(this, role)
    })
    expect(() => new Trainer({ model, data, batch: 2 })).toThrow(`no memory for the ${missing}`)
    model.dispose()
    expect(liveBytes()).toBe(before)
  },
)
